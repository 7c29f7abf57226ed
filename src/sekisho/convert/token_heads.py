"""What bge-m3 says of each token beside the one vector: a weight, and a vector of its own.

FlagEmbedding BGE_M3/modeling.py: sparse = relu(linear(hidden)); colbert = normalised linear(hidden) of every token but
the first. Both are zero for padding, and colbert's first row is too, so that rows and tokens stay side by side.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from sekisho.convert.blocks import Graph, Output, Value, l2_normalize
from sekisho.convert.checkpoint import Checkpoint
from sekisho.convert.family import Body
from sekisho.convert.torch_archive import read_linear
from sekisho.errors import ConversionFailed


def token_heads(g: Graph, checkpoint: Checkpoint, body: Body, names: tuple[str, ...]) -> list[Output]:
    """The outputs asked for, in the order asked."""
    unknown = [name for name in names if name not in _HEADS]
    if unknown:
        raise ConversionFailed(f"heads {', '.join(unknown)}: an embedding model has {', '.join(_HEADS)}")
    return [_HEADS[name](g, checkpoint, body) for name in names]


def _sparse(g: Graph, checkpoint: Checkpoint, body: Body) -> Output:
    op = g.op
    weights, width = _linear(g, checkpoint, body, "sparse")
    if width != 1:
        raise ConversionFailed(f"sparse_linear.pt gives {width} weights a token, expected one")
    present = op.Cast(body.mask, to=ir.DataType.FLOAT)
    return Output("sparse", op.Mul(op.Relu(op.Squeeze(weights, [-1])), present), 1, ("rows", "length"))


def _colbert(g: Graph, checkpoint: Checkpoint, body: Body) -> Output:
    op = g.op
    vectors, width = _linear(g, checkpoint, body, "colbert")
    present = op.Cast(body.mask, to=ir.DataType.FLOAT)
    counted = op.CumSum(present, op.Constant(value_int=1))
    later = op.Mul(present, op.Cast(op.Greater(counted, 1.0), to=ir.DataType.FLOAT))
    vectors, _ = l2_normalize(g, op.Mul(vectors, op.Unsqueeze(later, [-1])))
    return Output("colbert", vectors, width, ("rows", "length", width))


def _linear(g: Graph, checkpoint: Checkpoint, body: Body, name: str) -> tuple[Value, int]:
    weight, bias = read_linear(checkpoint.root / f"{name}_linear.pt", body.width)
    product = g.op.MatMul(body.hidden, g.constant(f"{name}_linear.weight", weight.T))
    return g.op.Add(product, g.constant(f"{name}_linear.bias", bias)), weight.shape[0]


_HEADS: dict[str, Callable[[Graph, Checkpoint, Body], Output]] = {"sparse": _sparse, "colbert": _colbert}
