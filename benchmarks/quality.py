"""Quality against speed, for one model in each arithmetic there is: all-MiniLM-L6-v2, beside ONNX Runtime's fp32.

Speed: each variant in turn with fp32 (fp32, variant, fp32, next variant, …), one lane of one thread, the same tokens in
batches of neighbours in length of at most 2,048 padded. Quality: as the gate of int8 judges it, on the gate's texts and
on those of the goldens: cosines to fp32, how many of a text's ten nearest stay, and the lowest cosine of a text among
its neighbours to the same text alone.

`python -m benchmarks.quality_plot` draws what `--json` wrote.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from sekisho.assemble import gate_run, open_catalog
from sekisho.bench.mix import texts
from sekisho.catalog.prepare import Prepared
from sekisho.contract import GRAPH_FILE, WEIGHTS_FILE, Contract, Passage, Quality, Rows, Tokens
from sekisho.convert.gate import judge, lone
from sekisho.convert.gate_texts import passages
from sekisho.convert.int8 import Recipe, quantise
from sekisho.runtime.load import load_model
from sekisho.runtime.machine import this_machine
from sekisho.runtime.model import LocalModel
from sekisho.runtime.select import Choice, Floats
from sekisho.settings import Settings
from tests.goldens.corpus import load_texts

#: A batch, in tokens with padding.
_BATCH_TOKENS = 2048
_REFERENCE = "ONNX Runtime fp32"
_OURS = "int8, ours"
#: Ours and what was weighed against it, from the nearest to fp32 to the fastest.
_RECIPES = {
    "all scales by token, weights to the nearest": Recipe("dynamic", "dynamic", fit=False),
    "all scales by token": Recipe("dynamic", "dynamic"),
    "products of norms alone": Recipe(others="float"),
    _OURS: Recipe(),
    "ours, weights to the nearest": Recipe(fit=False),
    "ours, values too": Recipe(values=True),
    "all calibrated, values float": Recipe(others="static"),
    "all calibrated": Recipe(others="static", values=True),
}


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
    plain = _prepared()
    made = [Variant(_REFERENCE, _load(plain, Choice("onnxruntime", "fp32", 1, 1, "")))]
    machine = this_machine()
    rounded = {name: _made(plain, directory / str(place), name) for place, name in enumerate(_RECIPES)}
    if machine.openvino is None:
        print("OpenVINO is not installed: its variants are left out")
    else:
        rest: Floats = "bf16" if "BF16" in machine.formats else "fp32"
        made.append(Variant("OpenVINO fp32", _load(plain, Choice("openvino", "fp32", 1, 1, ""))))
        if rest == "bf16":
            made.append(Variant("OpenVINO bf16", _load(plain, Choice("openvino", "bf16", 1, 1, ""))))
        on_openvino = Choice("openvino", "int8", 1, 1, "", rest)
        made += [Variant(name, _load(prepared, on_openvino)) for name, prepared in rounded.items()]
        if rest != "fp32":
            made.append(Variant(f"{_OURS}, fp32 elsewhere", _load(rounded[_OURS], replace(on_openvino, rest="fp32"))))
    made.append(Variant(f"{_OURS}, ONNX Runtime", _load(rounded[_OURS], Choice("onnxruntime", "int8", 1, 1, ""))))
    for name, per_channel in (("per tensor", False), ("per channel", True)):
        dynamic = _dynamic(plain, directory / name.replace(" ", "-"), per_channel=per_channel)
        if dynamic is not None:
            made.append(Variant(f"ONNX Runtime dynamic int8 {name}", dynamic))
    return made


def _made(plain: Prepared, target: Path, name: str) -> Prepared:
    """The model made int8 by a recipe, not gated."""
    shutil.copytree(plain.directory, target)
    began = time.perf_counter()
    quantise(target, gate_run(Settings()), recipe=_RECIPES[name])
    print(f"{name}: made in {time.perf_counter() - began:.1f} s")
    return replace(plain, directory=target, contract=replace(plain.contract, numbers="int8"))


def _prepared() -> Prepared:
    catalog = open_catalog(Settings())
    return catalog.preparer.prepare(catalog.registry.find("all-minilm-l6-v2"))


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


def _quality(made: list[Variant], asked: list[Passage]) -> dict[str, Quality]:
    reference = rows(made[0].model, asked)
    return {variant.name: measure(variant.model, asked, reference) for variant in made}


def _qualities(found: dict[str, Quality], title: str, count: int) -> Table:
    table = Table(
        title, "mean cosine", "lowest", "ten nearest that stay", "lowest, alone and among others",
        title=f"{count} texts against {_REFERENCE}",
    )  # fmt: skip
    for name, quality in found.items():
        figures = (quality.cosine_mean, quality.cosine_min, quality.overlap, quality.alone)
        table.add_row(name, *(f"{value:.5f}" for value in figures))
    return table


def _points(made: list[Variant], gate: dict[str, Quality], goldens: dict[str, Quality]) -> list[dict[str, object]]:
    return [
        {
            "name": one.name,
            "served": one.name == _OURS,
            "by_cpu": {"median": statistics.median(one.by_cpu), "min": min(one.by_cpu), "max": max(one.by_cpu)},
            "gate": asdict(gate[one.name]),
            "goldens": asdict(goldens[one.name]),
        }
        for one in made[1:]
    ]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--json", type=Path, help="write the figures there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        _measured(variants(Path(directory)), given.rounds, given.texts, given.json)


def _measured(made: list[Variant], rounds: int, count: int, report: Path | None) -> None:
    busy = os.getloadavg()[0]
    tokens = made[0].model.encode([Passage(text) for text in texts(count)], "end")
    for warm in (True, *[False] * rounds):
        for other in made[1:]:
            race(made[0], other, tokens)
        if warm:
            for variant in made:
                for figures in (variant.tokens_per_second, variant.by_clock, variant.by_cpu):
                    figures.clear()
    console = Console(width=140)
    console.print(_speed(made, busy))
    judges, odd = passages("embedding"), [Passage(text) for text in load_texts()]
    gate, goldens = _quality(made, judges), _quality(made, odd)
    console.print(_qualities(gate, "texts of the gate", len(judges)))
    console.print(_qualities(goldens, "texts of the goldens", len(odd)))
    if report is not None:
        report.write_text(json.dumps(_points(made, gate, goldens), indent=1), "utf-8")
    for variant in made:
        variant.model.close()


if __name__ == "__main__":
    main()
