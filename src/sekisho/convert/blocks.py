"""Graph pieces that families share, over plain ONNX operators.

Plain operators are what both engines fuse best: the standard `Attention` operator and contrib `MultiHeadAttention`
bought
nothing in OpenVINO and ONNX Runtime refused them a broadcast mask.

Shapes in comments and docstrings: B rows, S tokens, H hidden size, N heads, D size of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnxscript import GraphBuilder

from sekisho.contract import Pooling
from sekisho.convert.checkpoint import Weights
from sekisho.errors import ConversionFailed

OPSET = 23
Value = ir.Value


@dataclass(frozen=True)
class Output:
    """A float32 output, [B, width] where `axes` says nothing else."""

    name: str
    value: Value
    width: int
    axes: tuple[str | int, ...] | None = None


class Graph:
    """A graph under construction, and the weights that go into it."""

    def __init__(self, name: str, weights: Weights, max_tokens: int) -> None:
        """`max_tokens`: the longest input the graph is made for, which decides how large its position tables are."""
        self._graph = ir.Graph(inputs=[], outputs=[], nodes=[], opset_imports={"": OPSET}, name=name)
        self._builder = GraphBuilder(self._graph)
        self.op: Any = self._builder.op
        self.weights = weights
        self.max_tokens = max_tokens
        self.parameters = 0

    def input(self, name: str, *axes: str) -> Value:
        """An int32 input, [B, S] where `axes` says nothing else."""
        return self._builder.input(name, ir.DataType.INT32, list(axes or ("rows", "length")))

    def constant(self, name: str, array: NDArray[Any], *, learned: bool = True) -> Value:
        """learned: whether it counts as parameters of the model."""
        array = np.ascontiguousarray(array)
        self.parameters += array.size if learned else 0
        return self._builder.initializer(ir.tensor(array, name=name), name=name)

    def weight(self, name: str, *shape: int) -> Value:
        return self.computed(name, shape, self.weights.promise(name, *shape))

    def computed(
        self, name: str, shape: Sequence[int], make: Callable[[], NDArray[np.float32]], *, made_of: int | None = None
    ) -> Value:
        """A constant made when the graph is written, so that no two large ones are in memory at once.

        made_of: the number of parameters it stands for, where that is not its own size.
        """
        self.parameters += math.prod(shape) if made_of is None else made_of
        tensor = ir.LazyTensor(
            lambda: ir.tensor(np.ascontiguousarray(make()), name=name),
            dtype=ir.DataType.FLOAT,
            shape=ir.Shape(shape),
            name=name,
        )
        return self._builder.initializer(tensor, name=name)

    @contextmanager
    def reading(self, weights: Weights) -> Iterator[None]:
        """Take weights from another file for a while."""
        own, self.weights = self.weights, weights
        try:
            yield
        finally:
            self.weights = own

    def finish(self, outputs: Sequence[Output]) -> ir.Model:
        """The model with its outputs named."""
        for output in outputs:
            output.value.shape = ir.Shape(output.axes or ["rows", output.width])
            output.value.type = ir.TensorType(ir.DataType.FLOAT)
            self._builder.add_output(output.value, output.name)
        return ir.Model(self._graph, ir_version=10, producer_name="sekisho")


def linear(
    g: Graph, x: Value, name: str, inputs: int, outputs: int, *, bias: bool = True, label: str | None = None
) -> Value:
    """x [.., inputs] → [.., outputs], from a weight stored as torch does: [outputs, inputs].

    label: what the graph calls it, where the stored name is not unique.
    """
    label = label or name
    stored = g.weights.promise(f"{name}.weight", outputs, inputs)
    product = g.op.MatMul(x, g.computed(f"{label}.weight", (inputs, outputs), lambda: stored().T))
    return g.op.Add(product, g.constant(f"{label}.bias", g.weights.take(f"{name}.bias", outputs))) if bias else product


def layer_norm(g: Graph, x: Value, name: str, width: int, epsilon: float, *, bias: bool = True) -> Value:
    """x [.., width] normalised over its last axis, with the scale and shift stored under `name`."""
    scale = g.weight(f"{name}.weight", width)
    shift = (g.weight(f"{name}.bias", width),) if bias else ()
    return g.op.LayerNormalization(x, scale, *shift, axis=-1, epsilon=epsilon)


def rms_norm(g: Graph, x: Value, name: str, width: int, epsilon: float, *, offset: float = 0.0) -> Value:
    """x [.., width] over its root mean square, times the scale stored under `name`.

    offset: what is added to the stored scale (Gemma stores it less one).
    """
    op = g.op
    scale = g.constant(f"{name}.weight", g.weights.take(f"{name}.weight", width) + np.float32(offset))
    mean = op.ReduceMean(op.Mul(x, x), [-1], keepdims=1)
    return op.Mul(op.Mul(x, op.Reciprocal(op.Sqrt(op.Add(mean, epsilon)))), scale)


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


def pool(g: Graph, hidden: Value, mask: Value, how: Pooling, *, after_prompt: bool = False) -> Value:
    """hidden [B, S, H], mask [B, S] → [B, H]. As sentence_transformers.models.Pooling does it.

    `weighted_mean` weighs the token at position i with i + 1 (SGPT, https://arxiv.org/abs/2202.08904).
    after_prompt: the mask begins where the prompt ends, and with it what `cls` means: the first token that counts.
    """
    op = g.op
    present = op.Unsqueeze(op.Cast(mask, to=ir.DataType.FLOAT), [-1])
    if how == "cls" and after_prompt:
        first = op.ArgMax(mask, axis=1, keepdims=1)
        return op.Squeeze(op.GatherND(hidden, op.Unsqueeze(first, [-1]), batch_dims=1), [1])
    if how == "cls":
        return op.Gather(hidden, op.Constant(value_int=0), axis=1)
    if how == "max":
        return op.ReduceMax(op.Where(op.Greater(present, 0.0), hidden, -1.0e9), [1], keepdims=0)
    if how == "last":
        last = op.Sub(op.ReduceSum(op.Cast(mask, to=ir.DataType.INT64), [1], keepdims=1), 1)
        return op.Squeeze(op.GatherND(hidden, op.Unsqueeze(last, [-1]), batch_dims=1), [1])
    if how == "weighted_mean":
        # In whole numbers: bfloat16 counts to 256 and no further. And from the text's first token, whatever the mask.
        length = op.Squeeze(op.Shape(mask, start=1, end=2), [0])
        places = op.Range(op.Constant(value_int=1), op.Add(length, 1), op.Constant(value_int=1))
        present = op.Mul(present, op.Unsqueeze(op.Cast(places, to=ir.DataType.FLOAT), [-1]))
    total = op.ReduceSum(op.Mul(hidden, present), [1], keepdims=0)
    return op.Div(total, op.Max(op.ReduceSum(present, [1], keepdims=0), 1e-9))


def l2_normalize(g: Graph, x: Value) -> tuple[Value, Value]:
    """x [B, H] over its norm, and the norm [B, 1], taken as at least 1e-12 (torch.nn.functional.normalize)."""
    op = g.op
    norm = op.Max(op.ReduceL2(x, [-1], keepdims=1), 1e-12)
    return op.Div(x, norm), norm
