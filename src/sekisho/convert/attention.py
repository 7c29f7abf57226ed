"""Attention and what it is told: which positions may be seen, and where they stand.

Plain operators are what both engines fuse best: the standard `Attention` operator and contrib `MultiHeadAttention`
bought nothing in OpenVINO, and ONNX Runtime refused them a broadcast mask.

Shapes: B rows, S tokens, T tokens of all rows, N heads, K key-value heads, D size of a head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sekisho.contract import even_length
from sekisho.convert.blocks import Graph, Value
from sekisho.convert.packing import Packing
from sekisho.errors import ConversionFailed

#: Added to the score of a position that may not be seen. Finite in bfloat16 too, where the lowest float32 rounds to
#: -inf.
MASKED: Final = -3.0e38


@dataclass(frozen=True)
class Heads:
    """count: N; size: D; key_value: K, fewer than N where several query heads share a key; scale.

    1/sqrt(D) by default.
    """

    count: int
    size: int
    key_value: int | None = None
    scale: float | None = None

    @classmethod
    def of(cls, width: int, count: int) -> Heads:
        """Heads that share a width evenly. Raises ConversionFailed where they cannot."""
        if count < 1 or width % count:
            raise ConversionFailed(f"config.json: hidden_size {width} is no multiple of num_attention_heads {count}")
        return cls(count, width // count)


@dataclass(frozen=True)
class Rotary:
    """Cosines and sines of rotary positions, [S, D] each, both halves of a head alike (rotate-half layout)."""

    cos: Value
    sin: Value


def padding_bias(g: Graph, mask: Value) -> Value:
    """mask [B, S] of ones and zeros → [B, 1, 1, S] of 0 and MASKED, to be added to attention scores."""
    op = g.op
    absent = op.Sub(1.0, op.Cast(mask, to=ir.DataType.FLOAT))
    return op.Unsqueeze(op.Mul(absent, MASKED), [1, 2])


def causal_bias(g: Graph, ids: Value, padding: Value) -> Value:
    """`padding` [B, 1, 1, S] with every later position masked too → [B, 1, S, S]."""
    op = g.op
    seen = op.GreaterOrEqual(*_pairs(g, ids))
    return op.Min(padding, op.Where(seen, 0.0, MASKED))


def window_bias(g: Graph, ids: Value, base: Value, radius: int) -> Value:
    """`base` with every position more than `radius` away masked too → [B, 1, S, S]."""
    op = g.op
    near = op.LessOrEqual(op.Abs(distances(g, ids)), op.Constant(value_int=radius))
    return op.Min(base, op.Where(near, 0.0, MASKED))


def distances(g: Graph, ids: Value) -> Value:
    """Position of the query less that of the key, int64 [1, 1, S, S]."""
    return g.op.Sub(*_pairs(g, ids))


def _pairs(g: Graph, ids: Value) -> tuple[Value, Value]:
    """Positions of queries [1, 1, S, 1] and of keys [1, 1, 1, S]."""
    op = g.op
    length = op.Squeeze(op.Shape(ids, start=1, end=2), [0])
    positions = op.Range(op.Constant(value_int=0), length, op.Constant(value_int=1))
    return op.Unsqueeze(positions, [0, 1, 3]), op.Unsqueeze(positions, [0, 1, 2])


def inverse_frequencies(size: int, theta: float) -> NDArray[np.float64]:
    """theta^(-2i/D) for i in 0..D/2 (Su et al. 2021, RoFormer)."""
    return 1.0 / theta ** (np.arange(0, size, 2, dtype=np.float64) / size)


def rotary(
    g: Graph, name: str, ids: Value, frequencies: NDArray[np.float64], positions: int, gain: float = 1.0
) -> Rotary:
    """Tables made here once in float64, times `gain`, for the length of `ids`, [B, S] of any kind.

    An engine that computes in bfloat16 would round the angles of late positions.
    """
    op = g.op
    angles = np.outer(np.arange(even_length(positions)), frequencies)
    angles = np.concatenate([angles, angles], axis=1)
    length = op.Shape(ids, start=1, end=2)

    def part(suffix: str, table: NDArray[np.float64]) -> Value:
        values = g.constant(f"{name}.{suffix}", table.astype(np.float32), learned=False)
        return op.Slice(values, [0], length, [0])

    return Rotary(part("cos", gain * np.cos(angles)), part("sin", gain * np.sin(angles)))


def rotate(g: Graph, x: Value, rotary: Rotary, size: int) -> Value:
    """x [B, N, S, D] turned by its positions."""
    op = g.op
    first, second = op.Split(x, num_outputs=2, axis=-1, _outputs=2)
    turned = op.Concat(op.Neg(second), first, axis=-1)
    return op.Add(op.Mul(x, rotary.cos), op.Mul(turned, rotary.sin))


def split_heads(g: Graph, x: Value, count: int, size: int) -> Value:
    """[B, S, N·D] → [B, N, S, D]."""
    return g.op.Transpose(g.op.Reshape(x, [0, 0, count, size]), perm=[0, 2, 1, 3])


def merge_heads(g: Graph, x: Value, count: int, size: int) -> Value:
    """[B, N, S, D] → [B, S, N·D]."""
    return g.op.Reshape(g.op.Transpose(x, perm=[0, 2, 1, 3]), [0, 0, count * size])


def share_heads(g: Graph, x: Value, heads: Heads) -> Value:
    """Keys or values [B, K, S, D] → [B, N, S, D]: each serves N/K neighbouring query heads."""
    kept = heads.key_value or heads.count
    if kept == heads.count:
        return x
    order = np.repeat(np.arange(kept), heads.count // kept)
    return g.op.Gather(x, g.op.Constant(value_ints=order.tolist()), axis=1)


def attend(g: Graph, query: Value, key: Value, value: Value, biases: Sequence[Value], heads: Heads) -> Value:
    """Scaled dot-product attention over [B, N, S, D] queries and [B, K, S, D] keys and values → [B, S, N·D]."""
    op = g.op
    key, value = share_heads(g, key, heads), share_heads(g, value, heads)
    scores = op.MatMul(query, op.Transpose(key, perm=[0, 1, 3, 2]))
    scores = op.Mul(scores, heads.scale or 1.0 / math.sqrt(heads.size))
    for bias in biases:
        scores = op.Add(scores, bias)
    return merge_heads(g, op.MatMul(op.Softmax(scores, axis=-1), value), heads.count, heads.size)


def attention(
    g: Graph, query: Value, key: Value, value: Value, where: Packing, biases: Sequence[Value], heads: Heads
) -> Value:
    """`attend` for packed projections [T, N·D] or [T, K·D] that need no rotation → [T, N·D]."""
    kept = heads.key_value or heads.count
    mixed = attend(
        g,
        split_heads(g, where.spread(g, query), heads.count, heads.size),
        split_heads(g, where.spread(g, key), kept, heads.size),
        split_heads(g, where.spread(g, value), kept, heads.size),
        biases,
        heads,
    )
    return where.pack_rows(g, mixed, heads.count * heads.size)
