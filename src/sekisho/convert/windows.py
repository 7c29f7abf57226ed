"""Attention within a window that never computes the scores outside it.

A long sequence is cut into blocks, and each block sees its own tokens and those next to it: cost and memory grow with
the length and no longer with its square (docs/performance.md has the figures). A short one is one block that sees
itself, in the same graph; what an `If` would have to copy in and out cost more.

Shapes: B rows, S tokens, C blocks of b tokens, each of which sees k tokens, N heads, D size of a head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from sekisho.contract import even_length
from sekisho.convert.attention import MASKED, Heads, Rotary
from sekisho.convert.blocks import Graph, Value
from sekisho.convert.packing import Packing

#: Up to so many times the radius a sequence stays one block. Measured: at four it is level, beyond blocks win.
_WHOLE_UP_TO = 4


@dataclass(frozen=True)
class Blocks:
    """A batch in blocks, a few places longer than it came so that they are all of one size.

    where: the tokens' places in [B, C·b]. padding: [B, 1, 1, C·b], to be added to scores that no window limits.
    seen: int64 [C·k], the places that each block sees. bias: [B·C, 1, b, k], to be added to their scores.
    block, sight: b and k, int64 [1].
    """

    where: Packing
    padding: Value
    seen: Value
    bias: Value
    block: Value
    sight: Value


def longest(max_tokens: int, radius: int) -> int:
    """The largest C·b of a text within `max_tokens`."""
    block = max(radius, 1)
    return -(-even_length(max_tokens) // block) * block


def cut(g: Graph, where: Packing, mask: Value, radius: int) -> Blocks:
    """A batch with its mask [B, S] → blocks of at most `radius` tokens, none of which sees further than `radius`."""
    op = g.op
    length = op.Shape(mask, start=1, end=2)
    whole = op.LessOrEqual(length, _count(g, _WHOLE_UP_TO * radius))
    blocks = _divide_up(g, length, op.Where(whole, length, _count(g, max(radius, 1))))
    # So that the last block is full but for a few tokens, however long the text is.
    block = _divide_up(g, length, blocks)
    beside = op.Where(whole, _count(g, 0), _count(g, radius))
    sight = op.Add(block, op.Mul(beside, _count(g, 2)))
    last = op.Sub(length, _count(g, 1))

    starts = op.Unsqueeze(op.Mul(_range(g, blocks), block), [1])  # [C, 1]
    queries = op.Add(starts, op.Unsqueeze(_range(g, block), [0]))  # [C, b]
    keys = op.Add(op.Sub(starts, beside), op.Unsqueeze(_range(g, sight), [0]))  # [C, k], some outside the text
    there = op.And(op.GreaterOrEqual(keys, _count(g, 0)), op.LessOrEqual(keys, last))
    apart = op.Abs(op.Sub(op.Unsqueeze(queries, [2]), op.Unsqueeze(keys, [1])))
    near = op.And(op.LessOrEqual(apart, _count(g, radius)), op.Unsqueeze(there, [1]))  # [C, b, k]

    absent = op.Mul(op.Sub(1.0, op.Cast(mask, to=ir.DataType.FLOAT)), MASKED)  # [B, S]
    seen = op.Min(op.Max(keys, _count(g, 0)), last)
    bias = op.Min(op.Unsqueeze(op.Gather(absent, seen, axis=1), [2]), op.Where(near, 0.0, MASKED))  # [B, C, b, k]

    whole_length = op.Mul(blocks, block)
    columns = _range(g, whole_length)
    kept = op.Min(columns, last)
    padding = op.Min(op.Gather(absent, kept, axis=1), op.Where(op.LessOrEqual(columns, last), 0.0, MASKED))
    return Blocks(
        where=Packing(
            _moved(g, where.places, length, whole_length),
            shaped(op.Gather(where.slots, kept, axis=1), "rows", "whole", kind=ir.DataType.INT32),
        ),
        padding=shaped(op.Unsqueeze(padding, [1, 2]), "rows", 1, 1, "whole"),
        seen=op.Reshape(seen, [-1]),
        bias=op.Reshape(bias, op.Concat(op.Constant(value_ints=[-1, 1]), block, sight, axis=0)),
        block=block,
        sight=sight,
    )


def attend_near(g: Graph, query: Value, key: Value, value: Value, blocks: Blocks, turn: Rotary, heads: Heads) -> Value:
    """Projections [B, C·b, N·D] → [B, C·b, N·D], queries and keys turned by their positions."""
    op = g.op

    def rows(x: Value, size: Value) -> Value:
        """[B, C·size, N, D] → [B·C, size, N, D]."""
        shape = op.Concat(op.Constant(value_ints=[-1]), size, op.Constant(value_ints=[heads.count, heads.size]), axis=0)
        return op.Reshape(x, shape)

    query, key, value = (op.Reshape(x, [0, 0, heads.count, heads.size]) for x in (query, key, value))
    shape = op.Shape(query, start=1, end=2)
    query = op.Transpose(rows(_rotate(g, query, turn), blocks.block), perm=[0, 2, 1, 3])
    key = rows(op.Gather(_rotate(g, key, turn), blocks.seen, axis=1), blocks.sight)
    value = rows(op.Gather(value, blocks.seen, axis=1), blocks.sight)
    scores = op.MatMul(query, op.Transpose(key, perm=[0, 2, 3, 1]))
    scores = op.Add(op.Mul(scores, heads.scale or 1.0 / math.sqrt(heads.size)), blocks.bias)
    mixed = op.MatMul(op.Softmax(scores, axis=-1), op.Transpose(value, perm=[0, 2, 1, 3]))
    whole = op.Concat(op.Constant(value_ints=[-1]), shape, op.Constant(value_ints=[heads.count * heads.size]), axis=0)
    return shaped(op.Reshape(op.Transpose(mixed, perm=[0, 2, 1, 3]), whole), "rows", "whole", heads.count * heads.size)


def _rotate(g: Graph, x: Value, turn: Rotary) -> Value:
    """`attention.rotate` before heads are moved: x [B, S, N, D]."""
    op = g.op
    first, second = op.Split(x, num_outputs=2, axis=-1, _outputs=2)
    turned = op.Concat(op.Neg(second), first, axis=-1)
    return op.Add(op.Mul(x, op.Unsqueeze(turn.cos, [1])), op.Mul(turned, op.Unsqueeze(turn.sin, [1])))


def shaped(x: Value, *shape: str | int, kind: ir.DataType = ir.DataType.FLOAT) -> Value:
    """x with the sizes named that shape inference cannot find.

    Only what ONNX Runtime knows to be of one shape shares memory: the large scores of the other layers.
    """
    x.shape, x.type = ir.Shape(shape), ir.TensorType(kind)
    return x


def _moved(g: Graph, places: Value, length: Value, longer: Value) -> Value:
    """Places in rows of one length → the same in rows of another, int64 [T]."""
    op = g.op
    places = op.Cast(places, to=ir.DataType.INT64)
    return op.Add(op.Mul(op.Div(places, length), longer), op.Mod(places, length))


def _divide_up(g: Graph, dividend: Value, divisor: Value) -> Value:
    return g.op.Div(g.op.Sub(g.op.Add(dividend, divisor), _count(g, 1)), divisor)


def _range(g: Graph, end: Value) -> Value:
    """0 up to `end`, an int64 [1]."""
    op = g.op
    return op.Range(op.Constant(value_int=0), op.Squeeze(end, [0]), op.Constant(value_int=1))


def _count(g: Graph, value: int) -> Value:
    """An int64 [1]."""
    return g.op.Constant(value_ints=[value])
