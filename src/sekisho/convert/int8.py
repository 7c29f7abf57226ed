"""A graph's weights in int8, for products whose other side is rounded a token at a time as they run.

Weights: symmetric, a scale for each group of 64 input channels of each column, written as `DequantizeLinear`
(opset 21, `block_size`). OpenVINO multiplies them in int8, its scales for the other side being those of each token and
each 64 channels ("dynamic quantisation", `DYNAMIC_QUANTIZATION_GROUP_SIZE`): nothing is calibrated, and nothing of a
token depends on its neighbours. ONNX Runtime folds the weights back to float.

What stays float, by measurement (docs/performance.md): the values of attention, a twelfth of the arithmetic and half
the error; tables that are looked up; heads of a few columns. Values that are packed beside queries and keys, as in
ModernBERT and gte, are not unpacked: on random weights that took away a sixth of the error, for a product and a copy
more in each layer.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sekisho.contract import GRAPH_FILE, WEIGHTS_FILE
from sekisho.convert.build import save
from sekisho.errors import ConversionFailed

GROUP = 64
_MOST = 127
#: Narrower ones are classification heads, where a product costs nothing and an error is the answer's.
_FEWEST_COLUMNS = 16
_VALUES = re.compile(r"\.(value|value_proj|v_proj|v_lin|v)\.weight$")

#: Told the products done and all of them.
Progress = Callable[[int, int], None]


def quantise(directory: Path, progress: Progress | None = None) -> int:
    """Write the graph of `directory` anew with int8 weights; how many products have them.

    Raises ConversionFailed where there is nothing to quantise, OSError where the disk fails.
    """
    model = ir.load(directory / GRAPH_FILE)
    weights = [value for value in model.graph.initializers.values() if _is_product(value)]
    if not weights:
        raise ConversionFailed("`precision: int8`: this model has no products with weights; leave `precision` at auto")
    for done, weight in enumerate(weights, start=1):
        _replace(model.graph, weight)
        if progress is not None:
            progress(done, len(weights))
    made = directory / ".int8"
    made.mkdir()
    save(model, made, None)
    del model, weights  # the old weights are mapped
    for name in (WEIGHTS_FILE, GRAPH_FILE):
        os.replace(made / name, directory / name)
    shutil.rmtree(made)
    return done


def grouped(weight: NDArray[np.float32], group: int = GROUP) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """weight [inputs, outputs] → int8 of that shape, and scales [inputs / group, outputs]; their product is near it."""
    blocks = weight.reshape(-1, group, weight.shape[1])
    scales = np.abs(blocks).max(axis=1) / np.float32(_MOST)
    scales[scales == 0] = 1.0
    rounded = np.clip(np.rint(blocks / scales[:, None]), -_MOST, _MOST).astype(np.int8)
    return rounded.reshape(weight.shape), scales.astype(np.float32)


def _is_product(value: ir.Value) -> bool:
    """A weight [inputs, outputs] that is multiplied, and nothing else."""
    tensor, uses = value.const_value, value.uses()
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or len(tensor.shape) != 2 or not uses:
        return False
    inputs, outputs = tensor.shape.numpy()
    # OpenVINO 2026.4.1 multiplies rows of an odd number of channels, up to 63, wrongly in bfloat16.
    if inputs % 2 or outputs < _FEWEST_COLUMNS or _VALUES.search(value.name or ""):
        return False
    return all(use.node.op_type == "MatMul" and use.idx == 1 for use in uses)


def _replace(graph: ir.Graph, weight: ir.Value) -> None:
    """Every use of `weight` reads int8 times scale instead."""
    assert weight.const_value is not None  # noqa: S101 - `_is_product` looked
    name, array = str(weight.name), weight.const_value.numpy()
    whole = array.shape[0] % GROUP != 0  # then a scale a column: products of such widths are small
    rounded, scales = grouped(array, array.shape[0] if whole else GROUP)
    parts = [
        _constant(graph, f"{name}.int8", rounded),
        _constant(graph, f"{name}.scale", scales[0] if whole else scales),
    ]
    attributes = {"axis": 1} if whole else {"axis": 0, "block_size": GROUP}
    node = ir.node("DequantizeLinear", parts, attributes=attributes)
    uses = list(weight.uses())
    graph.insert_before(next(node for node in graph if any(node is use.node for use in uses)), node)
    for use in uses:
        use.node.replace_input_with(use.idx, node.outputs[0])
    del graph.initializers[name]


def _constant(graph: ir.Graph, name: str, array: NDArray[np.int8] | NDArray[np.float32]) -> ir.Value:
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value
