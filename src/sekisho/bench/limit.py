"""The physical limit: multiply-adds a second that a model's tokens take, beside what this machine does at its best."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sekisho.bench.figures import Row
from sekisho.bench.ideal import Ideal
from sekisho.contract import GRAPH_FILE, Contract, Tokens

_SIDE = 2048
#: How many times fp32's multiply-adds a CPU does at most in a number format.
TIMES_FP32 = {"fp32": 1, "bf16": 2, "fp16": 2, "int8": 4}
#: Through these a stored weight may go before it is multiplied.
_BETWEEN = {"Cast", "DequantizeLinear", "Identity", "Mul", "Reshape", "Sub", "Transpose"}


class Limit:
    """How near a model's tokens come to it, on the machine as it is during a run."""

    def __init__(self, ideal: Ideal, encoded: Sequence[Tokens]) -> None:
        self._choice = ideal.choice
        self._each = multiply_adds(ideal.directory, ideal.contract, encoded)
        self._fp32 = 0.0

    def look(self) -> None:
        """Measure the machine again: its best counts."""
        self._fp32 = max(self._fp32, fp32_peak())

    def rows(self, tokens_per_second: Sequence[float]) -> list[Row]:
        """What the served tokens come to; nothing without the `convert` extra."""
        if self._each is None:
            return []
        times = TIMES_FP32[self._choice.precision]
        shares = tuple(100 * self._each * speed / (self._fp32 * times) for speed in tokens_per_second)
        what = f"multiply-adds of the served tokens (bulk) ÷ the machine's at most, {times} × fp32's product"
        note = f"{self._each / 1e6:.1f} million a token; fp32: {self._fp32 / 1e9:.1f} thousand million a second"
        return [Row("", what, shares, "%", note=note)]


def fp32_peak() -> float:
    """Multiply-adds a second in one large product of matrices, on all cores."""
    source = np.random.Generator(np.random.PCG64(1))
    one, other = (source.random((_SIDE, _SIDE), np.float32) for _ in range(2))
    result = np.empty_like(one)
    taken = []
    for _ in range(2):  # the first one wakes the threads
        began = time.perf_counter()
        np.matmul(one, other, out=result)
        taken.append(time.perf_counter() - began)
    return float(_SIDE**3 / min(taken))


def multiply_adds(directory: Path, contract: Contract, encoded: Sequence[Tokens]) -> float | None:
    """Of one token of these texts, in the mean; None without the `convert` extra, which reads graphs.

    Products with stored weights take as many as the weight has numbers. Each of the others, two a layer, is of
    attention: width × length, the length being that of the text the token stands in.
    """
    try:
        stored, products = _products(directory / GRAPH_FILE)
    except ImportError:
        return None
    lengths = [len(tokens) for tokens in encoded]
    around = sum(length**2 for length in lengths) / sum(lengths)
    return stored + products * contract.width * around


def _products(path: Path) -> tuple[int, int]:
    """(numbers of all weights that are multiplied with, how many products are of two computed matrices)."""
    import onnx  # the `convert` extra

    graph = onnx.load(str(path), load_external_data=False).graph
    sizes = {weight.name: int(np.prod(weight.dims)) for weight in graph.initializer if len(weight.dims) > 1}
    makers = {name: node for node in graph.node for name in node.output}

    def weight(name: str) -> int:
        if name in sizes or name not in makers or makers[name].op_type not in _BETWEEN:
            return sizes.get(name, 0)
        return max((weight(each) for each in makers[name].input), default=0)

    found = [max(weight(name) for name in node.input[:2]) for node in graph.node if node.op_type in {"MatMul", "Gemm"}]
    return sum(found), found.count(0)
