"""Graph pieces that families share, over plain ONNX operators.

Plain operators are what both engines fuse best: the standard `Attention` operator and contrib `MultiHeadAttention`
bought
nothing in OpenVINO and ONNX Runtime refused them a broadcast mask.

Shapes in comments and docstrings: B rows, S tokens, H hidden size, N heads, D size of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnxscript import GraphBuilder

from sekisho.contract import Pooling
from sekisho.convert.checkpoint import Weights
from sekisho.errors import ConversionFailed

OPSET = 23
#: Added to the score of a padding position. Finite in bfloat16 too, where the lowest float32 would round to -inf.
MASKED: Final = -3.0e38

Value = ir.Value


class Graph:
    """A graph under construction, and the weights that go into it."""

    def __init__(self, name: str, weights: Weights) -> None:
        self._graph = ir.Graph(inputs=[], outputs=[], nodes=[], opset_imports={"": OPSET}, name=name)
        self._builder = GraphBuilder(self._graph)
        self.op: Any = self._builder.op
        self.weights = weights
        self.parameters = 0

    def input(self, name: str) -> Value:
        """An int32 input [B, S]."""
        return self._builder.input(name, ir.DataType.INT32, ["rows", "length"])

    def constant(self, name: str, array: NDArray[Any]) -> Value:
        array = np.ascontiguousarray(array)
        self.parameters += array.size
        return self._builder.initializer(ir.tensor(array, name=name), name=name)

    def weight(self, name: str, *shape: int) -> Value:
        return self.constant(name, self.weights.take(name, *shape))

    def finish(self, outputs: dict[str, Value], width: int) -> ir.Model:
        """The model with its outputs named: `embedding` is [B, width], every other [B, 1]."""
        for name, output in outputs.items():
            output.shape = ir.Shape(["rows", width if name == "embedding" else 1])
            output.type = ir.TensorType(ir.DataType.FLOAT)
            self._builder.add_output(output, name)
        return ir.Model(self._graph, ir_version=10, producer_name="sekisho")


def linear(g: Graph, x: Value, name: str, inputs: int, outputs: int, *, bias: bool = True) -> Value:
    """x [.., inputs] → [.., outputs], from a weight stored as torch does: [outputs, inputs]."""
    weight = g.constant(f"{name}.weight", g.weights.take(f"{name}.weight", outputs, inputs).T)
    product = g.op.MatMul(x, weight)
    return g.op.Add(product, g.weight(f"{name}.bias", outputs)) if bias else product


def layer_norm(g: Graph, x: Value, name: str, width: int, epsilon: float) -> Value:
    """x [.., width] normalised over its last axis, with the scale and shift stored under `name`."""
    scale, shift = g.weight(f"{name}.weight", width), g.weight(f"{name}.bias", width)
    return g.op.LayerNormalization(x, scale, shift, axis=-1, epsilon=epsilon)


def activation(name: str) -> Callable[[Graph, Value], Value]:
    """The activation transformers knows under `name`. Raises ConversionFailed where it is not one of ours.

    Names: transformers.activations.ACT2FN. `gelu` is exact (erf), `gelu_new` and its kin the tanh approximation.
    """
    table: dict[str, Callable[[Graph, Value], Value]] = {
        "gelu": lambda g, x: g.op.Gelu(x),
        "gelu_new": lambda g, x: g.op.Gelu(x, approximate="tanh"),
        "gelu_fast": lambda g, x: g.op.Gelu(x, approximate="tanh"),
        "gelu_pytorch_tanh": lambda g, x: g.op.Gelu(x, approximate="tanh"),
        "relu": lambda g, x: g.op.Relu(x),
        "silu": lambda g, x: g.op.Mul(x, g.op.Sigmoid(x)),
        "swish": lambda g, x: g.op.Mul(x, g.op.Sigmoid(x)),
        "tanh": lambda g, x: g.op.Tanh(x),
    }
    if name not in table:
        raise ConversionFailed(f"activation {name!r} in config.json is not known; known: {', '.join(sorted(table))}")
    return table[name]


def padding_bias(g: Graph, mask: Value) -> Value:
    """mask [B, S] of ones and zeros → [B, 1, 1, S] of 0 and MASKED, to be added to attention scores."""
    op = g.op
    absent = op.Sub(1.0, op.Cast(mask, to=ir.DataType.FLOAT))
    return op.Unsqueeze(op.Mul(absent, MASKED), [1, 2])


def attention(g: Graph, query: Value, key: Value, value: Value, bias: Value, heads: int, size: int) -> Value:
    """Scaled dot-product attention over [B, S, N·D] projections → [B, S, N·D]."""
    op = g.op

    def split(x: Value, order: list[int]) -> Value:
        return op.Transpose(op.Reshape(x, [0, 0, heads, size]), perm=order)

    scores = op.MatMul(split(query, [0, 2, 1, 3]), split(key, [0, 2, 3, 1]))
    scores = op.Add(op.Mul(scores, 1.0 / math.sqrt(size)), bias)
    mixed = op.MatMul(op.Softmax(scores, axis=-1), split(value, [0, 2, 1, 3]))
    return op.Reshape(op.Transpose(mixed, perm=[0, 2, 1, 3]), [0, 0, heads * size])


def pool(g: Graph, hidden: Value, mask: Value, how: Pooling) -> Value:
    """hidden [B, S, H], mask [B, S] → [B, H]. As sentence_transformers.models.Pooling does it.

    `weighted_mean` weighs the token at position i with i + 1 (SGPT, https://arxiv.org/abs/2202.08904).
    """
    op = g.op
    present = op.Unsqueeze(op.Cast(mask, to=ir.DataType.FLOAT), [-1])
    if how == "cls":
        return op.Gather(hidden, op.Constant(value_int=0), axis=1)
    if how == "max":
        return op.ReduceMax(op.Where(op.Greater(present, 0.0), hidden, -1.0e9), [1], keepdims=0)
    if how == "last":
        last = op.Sub(op.ReduceSum(op.Cast(mask, to=ir.DataType.INT64), [1], keepdims=1), 1)
        return op.Squeeze(op.GatherND(hidden, op.Unsqueeze(last, [-1]), batch_dims=1), [1])
    if how == "weighted_mean":
        present = op.Mul(present, op.CumSum(present, op.Constant(value_int=1)))
    total = op.ReduceSum(op.Mul(hidden, present), [1], keepdims=0)
    return op.Div(total, op.Max(op.ReduceSum(present, [1], keepdims=0), 1e-9))


def l2_normalize(g: Graph, x: Value) -> tuple[Value, Value]:
    """x [B, H] over its norm, and the norm [B, 1], taken as at least 1e-12 (torch.nn.functional.normalize)."""
    op = g.op
    norm = op.Max(op.ReduceL2(x, [-1], keepdims=1), 1e-12)
    return op.Div(x, norm), norm
