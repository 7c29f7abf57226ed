"""The export of optimum-onnx and ours from the same weights: how far apart, and which is faster.

    python -m benchmarks.exports OPTIMUM PREPARED [--int8 DIR]

OPTIMUM is what optimum's exporter wrote (feature-extraction; pooling and normalisation are done here, in NumPy, and
timed with it), PREPARED what `sekisho convert` wrote. Both run through the same session classes, on one thread, in
turns. INT8 holds a graph of scripts/quantize.py as model.onnx. Commands and figures: docs/reference-export.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from sekisho.arrays import where
from sekisho.bench.mix import texts
from sekisho.contract import GRAPH_FILE, TOKENIZER_FILE, Contract, Rows
from sekisho.runtime.machine import this_machine
from sekisho.runtime.model import Session
from sekisho.runtime.onnx import OnnxRuntimeSession
from sekisho.runtime.openvino import OpenVinoSession
from tests.goldens.corpus import load_texts

#: A batch as the server makes them: texts of about one length, up to this many tokens with padding.
_BATCH_TOKENS = 1024
#: For what company does to a text in dynamic int8.
_COMPANY = 32

Ids = list[list[int]]
Embed = Callable[[Ids], Rows]


def optimum(directory: Path, engine: str) -> Embed:
    """Tokens' vectors from the graph; their mean and its length here."""
    session = _open(directory, ("last_hidden_state",), engine)

    def embed(batch: Ids) -> Rows:
        ids, mask = _padded(batch, np.int64)
        hidden = session.run(0, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})[0]
        # One product of matrices, the fastest of the usual ways.
        rows = np.matmul(mask[:, None, :].astype(np.float32), hidden)[:, 0] / mask.sum(1, keepdims=True)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    return embed


def ours(directory: Path, engine: str) -> Embed:
    """A graph that ends in the vectors, its first output."""
    graph = onnx.load(str(directory / GRAPH_FILE), load_external_data=False).graph
    session = _open(directory, (graph.output[0].name,), engine)
    kind = np.int64 if graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT64 else np.int32

    def embed(batch: Ids) -> Rows:
        ids, mask = _padded(batch, kind)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)} | where(mask)
        return session.run(0, {node.name: given[node.name] for node in graph.input})[0]

    return embed


def _open(directory: Path, outputs: tuple[str, ...], engine: str) -> Session:
    if engine == "ONNX Runtime fp32":
        return OnnxRuntimeSession(directory, outputs, lanes=1, threads=1)
    return OpenVinoSession(directory, outputs, 1, 1, "bf16" if engine.endswith("bf16") else "fp32")


def _padded(batch: Ids, kind: type[np.int32 | np.int64]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(ids) for ids in batch])
    mask = (np.arange(lengths.max()) < lengths[:, None]).astype(kind)
    ids = np.zeros_like(mask)
    ids[mask.astype(bool)] = np.concatenate([np.asarray(row, kind) for row in batch])
    return ids, mask


def _all(embed: Embed, batches: list[Ids]) -> Rows:
    return np.vstack([embed(batch) for batch in batches])


def _by_count(encoded: Ids, count: int) -> list[Ids]:
    return [encoded[start : start + count] for start in range(0, len(encoded), count)]


def _by_tokens(encoded: Ids) -> list[Ids]:
    """Shortest first."""
    batches: list[Ids] = [[]]
    for ids in encoded:
        if len(ids) * (len(batches[-1]) + 1) > _BATCH_TOKENS:
            batches.append([])
        batches[-1].append(ids)
    return batches


def _cosines(one: Rows, other: Rows) -> np.ndarray:
    products = np.einsum("ij,ij->i", one.astype(np.float64), other.astype(np.float64))
    return np.asarray(products / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1))


def race(first: Embed, second: Embed, batches: list[Ids], rounds: int) -> dict[str, list[float]]:
    """First, second, first, second, …: tokens a second of each, and second ÷ first by the clock and by CPU time."""
    tokens = sum(len(ids) for batch in batches for ids in batch)
    taken: dict[str, list[float]] = {"first": [], "second": [], "clock": [], "cpu": []}
    for embed in (first, second):
        _all(embed, batches)
    for _ in range(rounds):
        wall, cpu = [], []
        for embed in (first, second):
            began, used = time.perf_counter(), time.process_time()
            _all(embed, batches)
            wall.append(time.perf_counter() - began)
            cpu.append(time.process_time() - used)
        taken["first"].append(tokens / wall[0])
        taken["second"].append(tokens / wall[1])
        taken["clock"].append(wall[0] / wall[1])
        taken["cpu"].append(cpu[0] / cpu[1])
    return taken


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("optimum", type=Path)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--int8", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--texts", type=int, default=256)
    arguments = parser.parse_args()
    contract = Contract.read(arguments.prepared)
    tokenizer = Tokenizer.from_file(str(arguments.prepared / TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.enable_truncation(contract.max_tokens)

    def encode(sample: list[str]) -> Ids:
        return [one.ids for one in tokenizer.encode_batch(sample)]

    corpus = encode(load_texts())
    mixed = sorted(encode(texts(arguments.texts)), key=len)
    kinds = (("in batches", _by_tokens(mixed)), ("one by one", _by_count(mixed[::4], 1)))
    engines = ["ONNX Runtime fp32", "OpenVINO fp32"]
    if "BF16" in this_machine().formats:
        engines.append("OpenVINO bf16")
    load = os.getloadavg()[0]
    same = Table(
        "outputs", "mean cosine", "worst cosine", "largest difference", title=f"{len(corpus)} texts of the goldens"
    )
    speed = Table(
        "one thread", "optimum, tokens/s", "ours, tokens/s", "ours ÷ optimum", "min – max", "by CPU time",
        title=f"{arguments.rounds} rounds in turns, medians; load before: {load:.1f}",
    )  # fmt: skip
    exact: Rows | None = None
    for engine in engines:
        theirs = optimum(arguments.optimum, engine)
        own = ours(arguments.prepared, engine)
        vectors = [_all(embed, _by_count(corpus, 1)) for embed in (theirs, own)]
        exact = vectors[0] if exact is None else exact
        _compare(same, f"ours against optimum, {engine}", vectors[1], vectors[0])
        if exact is not vectors[0]:
            _compare(same, f"ours, {engine}, against optimum, {engines[0]}", vectors[1], exact)
        for what, batches in kinds:
            _add(speed, f"{engine}, {what}", race(theirs, own, batches, arguments.rounds))
    if arguments.int8 and exact is not None:
        theirs = optimum(arguments.optimum, engines[0])
        int8 = ours(arguments.int8, engines[0])
        whole = _by_count(corpus, _COMPANY)[:-1]  # the last is not full
        alone, count = _all(int8, _by_count(corpus, 1)), sum(map(len, whole))
        _compare(same, "int8, alone, against fp32", alone, exact)
        _compare(same, "int8, among 31 others, against alone", _all(int8, whole), alone[:count])
        _compare(same, "fp32, among 31 others, against alone", _all(theirs, whole), exact[:count])
        for what, batches in kinds:
            _add(speed, f"int8 for ours, {what}", race(theirs, int8, batches, arguments.rounds))
    console = Console()
    console.print(same)
    console.print(speed)


def _compare(table: Table, what: str, one: Rows, other: Rows) -> None:
    found = _cosines(one, other)
    table.add_row(what, f"{found.mean():.7f}", f"{found.min():.7f}", f"{np.abs(one - other).max():.1e}")


def _add(table: Table, what: str, taken: dict[str, list[float]]) -> None:
    middle = {key: statistics.median(values) for key, values in taken.items()}
    spread = f"{min(taken['clock']):.2f} – {max(taken['clock']):.2f}"
    table.add_row(
        what,
        f"{middle['first']:,.0f}",
        f"{middle['second']:,.0f}",
        f"{middle['clock']:.2f}",
        spread,
        f"{middle['cpu']:.2f}",
    )


if __name__ == "__main__":
    main()
