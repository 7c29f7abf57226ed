"""Quality against speed, for one model in each arithmetic there is: all-MiniLM-L6-v2, beside ONNX Runtime's fp32.

Speed: each variant in turn with fp32 (fp32, variant, fp32, next variant, …), one lane of one thread, the same tokens in
batches of neighbours in length of at most 2,048 padded. Quality: as the gate of int8 judges it, on the gate's texts and
on those of the goldens: cosines to fp32, how many of a text's ten nearest stay, and the lowest cosine of a text among
its neighbours to the same text alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.mix import texts
from sekisho.assemble import open_catalog
from sekisho.catalog.prepare import Prepared
from sekisho.contract import GRAPH_FILE, WEIGHTS_FILE, Contract, Passage, Quality, Rows, Tokens
from sekisho.convert.gate import judge, lone
from sekisho.convert.gate_texts import passages
from sekisho.runtime.load import load_model
from sekisho.runtime.machine import this_machine
from sekisho.runtime.model import LocalModel
from sekisho.runtime.select import Choice, Floats
from sekisho.settings import Settings
from tests.goldens.corpus import load_texts

#: A batch, in tokens with padding.
_BATCH_TOKENS = 2048
_REFERENCE = "ONNX Runtime fp32"


@dataclass
class Variant:
    """A model in one arithmetic; what it reached, a figure a round."""

    name: str
    model: LocalModel
    tokens_per_second: list[float] = field(default_factory=list)
    by_clock: list[float] = field(default_factory=list)
    by_cpu: list[float] = field(default_factory=list)


def variants(directory: Path) -> list[Variant]:
    """The reference first; what this machine or environment lacks is left out with a line."""
    plain, rounded = _prepared("auto"), _prepared("int8")
    made = [Variant(_REFERENCE, _load(plain, Choice("onnxruntime", "fp32", 1, 1, "")))]
    machine = this_machine()
    if machine.openvino is None:
        print("OpenVINO is not installed: its variants are left out")
    else:
        rest: Floats = "bf16" if "BF16" in machine.formats else "fp32"
        made.append(Variant("OpenVINO fp32", _load(plain, Choice("openvino", "fp32", 1, 1, ""))))
        if rest == "bf16":
            made.append(Variant("OpenVINO bf16", _load(plain, Choice("openvino", "bf16", 1, 1, ""))))
        made.append(
            Variant(f"int8, ours ({rest} elsewhere)", _load(rounded, Choice("openvino", "int8", 1, 1, "", rest)))
        )
        if rest != "fp32":
            other = Choice("openvino", "int8", 1, 1, "")
            made.append(Variant("int8, ours (fp32 elsewhere)", _load(rounded, other)))
    for name, per_channel in (("per tensor", False), ("per channel", True)):
        dynamic = _dynamic(plain, directory / name.replace(" ", "-"), per_channel=per_channel)
        if dynamic is not None:
            made.append(Variant(f"ONNX Runtime dynamic int8 {name}", dynamic))
    return made


def _prepared(precision: str) -> Prepared:
    catalog = open_catalog(Settings())
    spec = catalog.registry.find("all-minilm-l6-v2").model_copy(update={"precision": precision})
    return catalog.preparer.prepare(spec)


def _load(prepared: Prepared, choice: Choice) -> LocalModel:
    return load_model(prepared.directory, prepared.contract, choice)


def _dynamic(prepared: Prepared, target: Path, *, per_channel: bool) -> LocalModel | None:
    """Our graph as ONNX Runtime's own tool quantises it; None where the tool is not to be had."""
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        print(f"{error.name} is not installed: ONNX Runtime's dynamic int8 is left out")
        return None
    shutil.copytree(prepared.directory, target, ignore=shutil.ignore_patterns(GRAPH_FILE, WEIGHTS_FILE))
    quantize_dynamic(
        prepared.directory / GRAPH_FILE, target / GRAPH_FILE, per_channel=per_channel, weight_type=QuantType.QInt8
    )
    contract: Contract = replace(prepared.contract, numbers="dynamic_int8", graph="model.onnx", engine="onnxruntime")
    return load_model(target, contract, Choice("onnxruntime", "int8", 1, 1, ""))


def batches(lengths: Sequence[int]) -> list[list[int]]:
    """Places of texts, shortest first, in batches of at most so many padded tokens."""
    made: list[list[int]] = [[]]
    for index in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        if made[-1] and lengths[index] * (len(made[-1]) + 1) > _BATCH_TOKENS:
            made.append([])
        made[-1].append(index)
    return made


def race(reference: Variant, other: Variant, tokens: list[Tokens]) -> None:
    """One round of the two."""
    groups = [[tokens[index] for index in batch] for batch in batches([len(one) for one in tokens])]
    count = sum(map(len, tokens))
    spent = []
    for variant in (reference, other):
        began, used = time.perf_counter(), time.process_time()
        for group in groups:
            variant.model.run(0, group)
        spent.append((time.perf_counter() - began, time.process_time() - used))
        variant.tokens_per_second.append(count / spent[-1][0])
    other.by_clock.append(spent[0][0] / spent[1][0])
    other.by_cpu.append(spent[0][1] / spent[1][1])


def rows(model: LocalModel, asked: list[Passage], *, alone: bool = False) -> Rows:
    """The vectors, in the order asked."""
    tokens = model.encode(asked, "end")
    made = np.empty((len(tokens), model.contract.width), np.float32)
    for batch in [[index] for index in range(len(tokens))] if alone else batches([len(one) for one in tokens]):
        made[batch] = model.run(0, [tokens[index] for index in batch])[0]
    return made


def measure(model: LocalModel, asked: list[Passage], reference: Rows) -> Quality:
    """Against the reference, and against itself alone."""
    chosen = asked[lone("embedding")]
    return judge("embedding", reference, rows(model, asked), rows(model, chosen, alone=True))


def _speed(made: list[Variant], busy: float) -> Table:
    table = Table(
        "one thread", "tokens/s", "÷ fp32, CPU time", "min – max", "÷ fp32, clock", "min – max",
        title=f"{len(made[1].by_cpu)} rounds in turns, medians; load {busy:.1f} before, {os.getloadavg()[0]:.1f} after",
    )  # fmt: skip
    for variant in made:
        cells = [f"{statistics.median(variant.tokens_per_second):,.0f}"]
        for ratios in (variant.by_cpu, variant.by_clock):
            cells += (
                [f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} – {max(ratios):.2f}"] if ratios else ["", ""]
            )
        table.add_row(variant.name, *cells)
    return table


def _quality(made: list[Variant], title: str, asked: list[Passage]) -> Table:
    table = Table(
        title, "mean cosine", "lowest", "ten nearest that stay", "lowest, alone and among others",
        title=f"{len(asked)} texts against {_REFERENCE}",
    )  # fmt: skip
    reference = rows(made[0].model, asked)
    for variant in made:
        found = measure(variant.model, asked, reference)
        figures = (found.cosine_mean, found.cosine_min, found.overlap, found.alone)
        table.add_row(variant.name, *(f"{value:.5f}" for value in figures))
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--texts", type=int, default=128)
    given = parser.parse_args()
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as directory:
        made = variants(Path(directory))
        tokens = made[0].model.encode([Passage(text) for text in texts(given.texts)], "end")
        for warm in (True, *[False] * given.rounds):
            for other in made[1:]:
                race(made[0], other, tokens)
            if warm:
                for variant in made:
                    for figures in (variant.tokens_per_second, variant.by_clock, variant.by_cpu):
                        figures.clear()
        console = Console(width=140)
        console.print(_speed(made, busy))
        console.print(_quality(made, "texts of the gate", passages("embedding")))
        console.print(_quality(made, "texts of the goldens", [Passage(text) for text in load_texts()]))
        for variant in made:
            variant.model.close()


if __name__ == "__main__":
    main()
