"""The tokens of a batch side by side, without padding, and in rows where attention needs them.

Four fifths of a model's work is products that take each token by itself. Padding is left out of them; attention alone,
which is cheap for texts of usual length, sees rows. So texts of unlike lengths share a batch at little cost, and a
batch costs what its tokens cost.

Shapes: B rows, S places in each, T tokens of all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from sekisho.contract import PLACES, SLOTS
from sekisho.convert.blocks import Graph, Value


@dataclass(frozen=True)
class Packing:
    """places: int32 [T], where each token stands in a batch [B, S] read row by row.

    slots: int32 [B, S], which of the T tokens stands there; padding shows a token of its own row.
    """

    places: Value
    slots: Value

    def pack(self, g: Graph, x: Value) -> Value:
        """[B, S] → [T]."""
        return g.op.Gather(g.op.Reshape(x, [-1]), self.places, axis=0)

    def pack_rows(self, g: Graph, x: Value, width: int) -> Value:
        """[B, S, width] → [T, width]."""
        return g.op.Gather(g.op.Reshape(x, [-1, width]), self.places, axis=0)

    def spread(self, g: Graph, x: Value) -> Value:
        """[T, H] → [B, S, H]."""
        return g.op.Gather(x, self.slots, axis=0)

    def positions(self, g: Graph) -> Value:
        """int32 [T]: how many tokens of its row stand before each."""
        op = g.op
        return op.Mod(self.places, op.Cast(op.Shape(self.slots, start=1, end=2), to=ir.DataType.INT32))


#: The axis T in the graph.
TOKENS = "tokens"
_ROW_RANK = 2
#: The inputs of a packed graph, in order; others [B, S] may stand between.
INPUTS = ("input_ids", "attention_mask")
WHERE = (PLACES, SLOTS)


def is_of_texts(given: Value | None) -> bool:
    """Whether it is [B, width], a row a text: what pooling gives and heads make of it. Packed tokens are [T, width]."""
    shape = None if given is None else given.shape
    return shape is not None and len(shape) == _ROW_RANK and shape[0] != TOKENS


def packing(g: Graph) -> Packing:
    """The inputs that say where tokens stand."""
    return Packing(g.input(PLACES, TOKENS), g.input(SLOTS))
