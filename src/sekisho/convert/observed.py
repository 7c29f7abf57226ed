"""What the products of a graph are given when it reads the calibration texts.

The graph is run as it is, in fp32, with one output in place of its own: of each value asked for some tokens, spread
evenly over the text, and the lowest and highest of each channel over all of them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sekisho.contract import GRAPH_FILE, WEIGHTS_FILE, Contract
from sekisho.convert.calibration_texts import calibration
from sekisho.convert.proving import Run

#: Of each text. A shorter one gives some of its tokens twice.
TOKENS = 16
#: What is held of all texts at once, in bytes; a larger model is run several times.
_AT_ONCE = 512 * 2**20
_OUTPUT = "observed"


@dataclass(frozen=True)
class Observed:
    """tokens: [T, K]; lowest, highest: [K], of every token, those not held too."""

    tokens: NDArray[np.float32]
    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]


def observe(directory: Path, values: dict[str, int], run: Run) -> Iterator[dict[str, Observed]]:
    """values: names in the graph of `directory`, [.., channels], and how many channels. In parts that fit in memory."""
    contract = Contract.read(directory)
    texts = calibration(contract.kind)
    for part in _parts(values, _AT_ONCE // (len(texts) * (TOKENS + 2) * 4)):
        with _beside(directory, part) as changed:
            seen = run(changed, replace(contract, outputs=(_OUTPUT,)), texts, False, True)
        seen = seen.reshape(len(texts), TOKENS + 2, -1)
        edges = np.cumsum([0, *part.values()])
        yield {name: _of(seen[:, :, start:end]) for name, start, end in zip(part, edges[:-1], edges[1:], strict=True)}


def _of(seen: NDArray[np.float32]) -> Observed:
    """seen: [texts, TOKENS and two, K]."""
    tokens = seen[:, :TOKENS].reshape(-1, seen.shape[2])
    return Observed(tokens, seen[:, TOKENS].min(axis=0), seen[:, TOKENS + 1].max(axis=0))


def _parts(values: dict[str, int], most: int) -> Iterator[dict[str, int]]:
    """Of at most so many channels, or of one value."""
    part: dict[str, int] = {}
    for name, channels in values.items():
        if part and sum(part.values()) + channels > most:
            yield part
            part = {}
        part[name] = channels
    yield part


@contextmanager
def _beside(directory: Path, values: dict[str, int]) -> Iterator[Path]:
    """A directory with the graph that gives `values`; gone at the end."""
    changed = directory / ".observed"
    changed.mkdir()
    try:
        for path in directory.iterdir():
            if path.is_file() and path.name not in {GRAPH_FILE, WEIGHTS_FILE}:
                (changed / path.name).symlink_to(path.resolve())
        _share(directory / WEIGHTS_FILE, changed / WEIGHTS_FILE)
        model = ir.load(directory / GRAPH_FILE)
        _give(model.graph, values)
        ir.save(model, changed / GRAPH_FILE)  # its weights stay in the file beside it
        yield changed
    finally:
        shutil.rmtree(changed)


def _share(source: Path, target: Path) -> None:
    """ONNX Runtime follows no symbolic link out of a graph's directory."""
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def _give(graph: ir.Graph, values: dict[str, int]) -> None:
    """Replace the outputs by one, [1, (TOKENS + 2) · channels of all values], of a text by itself."""
    named = {value.name: value for node in graph for value in node.outputs}
    made = [_sampled(graph, named[name], name, channels) for name, channels in values.items()]
    joined = _add(graph, "Concat", made, axis=2)
    output = _add(graph, "Reshape", [joined, _numbers(graph, f"{_OUTPUT}.shape", [1, -1])])
    output.name, output.type = _OUTPUT, ir.TensorType(ir.DataType.FLOAT)
    output.shape = ir.Shape(["rows", (TOKENS + 2) * sum(values.values())])
    graph.outputs.clear()
    graph.outputs.append(output)


def _sampled(graph: ir.Graph, value: ir.Value, name: str, channels: int) -> ir.Value:
    """Some of a value's tokens, then lowest and highest: [1, TOKENS + 2, channels]."""
    constant = [_numbers(graph, f"{name}.{kind}", held) for kind, held in (
        ("flat", [-1, channels]), ("places", list(range(TOKENS))), ("count", [TOKENS]), ("axis", [0]),
    )]  # fmt: skip
    flat = _add(graph, "Reshape", [value, constant[0]])
    scaled = _add(graph, "Mul", [_add(graph, "Shape", [flat], start=0, end=1), constant[1]])
    tokens = _add(graph, "Gather", [flat, _add(graph, "Div", [scaled, constant[2]])], axis=0)
    ends = [_add(graph, kind, [flat, constant[3]], keepdims=1) for kind in ("ReduceMin", "ReduceMax")]
    return _add(graph, "Unsqueeze", [_add(graph, "Concat", [tokens, *ends], axis=0), constant[3]])


def _add(graph: ir.Graph, kind: str, inputs: list[ir.Value], **attributes: int) -> ir.Value:
    node = ir.node(kind, inputs, attributes or None)
    graph.append(node)
    return node.outputs[0]


def _numbers(graph: ir.Graph, name: str, held: list[int]) -> ir.Value:
    value = ir.Value(name=f"{_OUTPUT}.{name}", const_value=ir.tensor(np.array(held, np.int64), name=name))
    graph.register_initializer(value)
    return value
