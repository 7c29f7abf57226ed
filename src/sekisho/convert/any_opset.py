"""What is added to a graph of any operator version: only operators, and only forms of them, that are the same in all.

So sums are matrix products and new axes are reshapes: `ReduceSum`, `Unsqueeze` and their kind take their axes as an
attribute in some versions and as an input in others. The pieces themselves are those of `blocks.py`.

Shapes: B rows, S tokens, H hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sekisho.contract import Pooling
from sekisho.errors import ConversionFailed

Value = ir.Value

#: From here on ReduceMax takes its axes as an input.
_AXES_ARE_INPUTS = 18


class Extension:
    """Nodes that are put before or after those of a graph. Names begin with `sekisho.`, which no exporter writes."""

    def __init__(self, graph: ir.Graph, opset: int) -> None:
        self.graph = graph
        self.opset = opset
        self._count = 0

    def node(self, kind: str, *inputs: Value, before: ir.Node | None = None, **attributes: Any) -> Value:
        """One more operator with one output; `before`: the node that needs it, else it stands at the end."""
        self._count += 1
        name = f"sekisho.{kind}.{self._count}"
        output = ir.Value(name=name)
        node = ir.node(kind, inputs, attributes or None, outputs=[output], name=name)
        if before is None:
            self.graph.append(node)
        else:
            self.graph.insert_before(before, node)
        return output

    def constant(self, array: NDArray[Any]) -> Value:
        self._count += 1
        tensor = ir.tensor(np.asarray(array, order="C"), name=f"sekisho.constant.{self._count}")
        value = ir.Value(
            name=tensor.name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        self.graph.register_initializer(value)
        return value

    def floats(self, *values: float) -> Value:
        """One number, or a list of them, as float32."""
        return self.constant(np.array(values if len(values) > 1 else values[0], np.float32))

    def reshape(self, x: Value, *shape: int) -> Value:
        """0 keeps an axis, -1 takes what is left."""
        return self.node("Reshape", x, self.constant(np.array(shape, np.int64)))


def pool(e: Extension, hidden: Value, mask: Value, how: Pooling, *, after_prompt: bool = False) -> Value:
    """hidden float32 [B, S, H], mask int32 [B, S] → [B, H], as `blocks.pool`."""
    if how == "cls" and not after_prompt:
        return e.node("Gather", hidden, e.constant(np.array(0, np.int64)), axis=1)
    present = e.node("Cast", mask, to=int(ir.DataType.FLOAT))
    column = e.reshape(present, 0, -1, 1)
    if how == "max":
        shown = e.node("Where", e.node("Cast", column, to=int(ir.DataType.BOOL)), hidden, e.floats(-1e9))
        if e.opset < _AXES_ARE_INPUTS:
            return e.node("ReduceMax", shown, axes=[1], keepdims=0)
        return e.node("ReduceMax", shown, e.constant(np.array([1], np.int64)), keepdims=0)
    row = e.reshape(_weights(e, mask, present, how), 0, 1, -1)
    summed = e.reshape(e.node("MatMul", row, hidden), 0, -1)
    total = e.reshape(e.node("MatMul", row, column), 0, 1)
    return e.node("Div", summed, e.node("Max", total, e.floats(1e-9)))


def _weights(e: Extension, mask: Value, present: Value, how: Pooling) -> Value:
    """How much each token counts, float32 [B, S]; `mask` and `present` are 1 where there is one.

    Counted in whole numbers: bfloat16, in which an engine may compute, counts to 256 and no further.
    """
    if how == "mean":
        return present
    if how not in {"cls", "last", "weighted_mean"}:
        raise ConversionFailed(f"pooling {how!r} is made from the weights: leave `onnx` out")
    axis, one = e.constant(np.array(1, np.int64)), e.constant(np.array(1, np.int32))
    if how == "weighted_mean":
        # From the text's first token, whatever the mask leaves out.
        places = e.node("CumSum", e.node("Add", e.node("Mul", mask, e.constant(np.array(0, np.int32))), one), axis)
        return e.node("Mul", present, e.node("Cast", places, to=int(ir.DataType.FLOAT)))
    counted = e.node("CumSum", mask, axis, reverse=int(how == "last"))
    return e.node("Mul", present, e.node("Cast", e.node("Equal", counted, one), to=int(ir.DataType.FLOAT)))


def l2_normalize(e: Extension, x: Value) -> tuple[Value, Value]:
    """x [B, H] over its norm, and the norm [B, 1], taken as at least 1e-12."""
    squared = e.node("MatMul", e.reshape(x, 0, 1, -1), e.reshape(x, 0, -1, 1))
    norm = e.node("Max", e.node("Sqrt", e.reshape(squared, 0, 1)), e.floats(1e-12))
    return e.node("Div", x, norm), norm


def linear(e: Extension, x: Value, weight: NDArray[np.float32], bias: NDArray[np.float32] | None) -> Value:
    """x [B, inputs] → [B, outputs], from a weight stored as torch does: [outputs, inputs]."""
    product = e.node("MatMul", x, e.constant(weight.T))
    return product if bias is None else e.node("Add", product, e.constant(bias))


def activation(e: Extension, name: str, x: Value) -> Value:
    """A torch module's activation by its class name. Raises ConversionFailed where it is not one of ours."""
    if name not in _ACTIVATIONS:
        known = ", ".join(sorted(_ACTIVATIONS))
        raise ConversionFailed(f"activation {name!r} of a Dense module is not known; known: {known}")
    return _ACTIVATIONS[name](e, x)


def _gelu(e: Extension, x: Value) -> Value:
    cumulative = e.node("Add", e.node("Erf", e.node("Mul", x, e.floats(math.sqrt(0.5)))), e.floats(1.0))
    return e.node("Mul", e.node("Mul", x, e.floats(0.5)), cumulative)


_ACTIVATIONS: Mapping[str, Callable[[Extension, Value], Value]] = {
    "Identity": lambda e, x: x,
    "Tanh": lambda e, x: e.node("Tanh", x),
    "ReLU": lambda e, x: e.node("Relu", x),
    "Sigmoid": lambda e, x: e.node("Sigmoid", x),
    "SiLU": lambda e, x: e.node("Mul", x, e.node("Sigmoid", x)),
    "GELU": _gelu,
}
