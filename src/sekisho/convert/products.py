"""Which products of a graph can be int8, and what each of them is given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from sekisho.convert.packing import is_of_texts

#: Narrower ones are classification heads, where a product costs nothing and an error is the answer's.
_FEWEST_COLUMNS = 16
_VALUES = re.compile(r"\.(value|value_proj|v_proj|v_lin|v)\.weight$")


@dataclass(frozen=True)
class Product:
    """`given` [.., K] times `weight` [K, N], at one place of the graph."""

    node: ir.Node
    given: ir.Value
    weight: ir.Value

    @property
    def name(self) -> str:
        return str(self.weight.name)

    @property
    def shape(self) -> tuple[int, int]:
        """K and N."""
        assert self.weight.shape is not None  # noqa: S101 - `_is_weight` looked
        inputs, outputs = self.weight.shape.numpy()
        return inputs, outputs

    @property
    def is_value(self) -> bool:
        """Whether it makes the values of attention alone."""
        return _VALUES.search(self.name) is not None


def products(graph: ir.Graph) -> list[Product]:
    """Those with weights of their own that nothing else reads, in the order they are computed.

    Not those of one row a text: they cost nothing, and OpenVINO multiplies one row by another kernel than several, so
    that int8 would give a text another vector alone than among others.
    """
    return list(_products(graph))


def _products(graph: ir.Graph) -> Iterator[Product]:
    for node in graph:
        if node.op_type != "MatMul":
            continue
        given, weight = node.inputs
        if given is not None and weight is not None and _is_weight(weight) and not is_of_texts(given):
            yield Product(node, given, weight)


def _is_weight(value: ir.Value) -> bool:
    tensor = value.const_value
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or len(tensor.shape) != 2 or len(value.uses()) != 1:
        return False
    inputs, outputs = tensor.shape.numpy()
    # OpenVINO 2026.4.1 multiplies rows of an odd number of channels, up to 63, wrongly in bfloat16.
    return inputs % 2 == 0 and outputs >= _FEWEST_COLUMNS


def is_normed(value: ir.Value) -> bool:
    """Whether it comes straight from a norm, `LayerNormalization` or one that `blocks.rms_norm` wrote out.

    A norm gives all tokens one length, so that one scale suits them all.
    """
    node = value.producer()
    if node is None or node.op_type != "Mul":
        return node is not None and node.op_type == "LayerNormalization"
    inner = [given.producer() for given in node.inputs if given is not None and given.const_value is None]
    if len(inner) != 1 or inner[0] is None or inner[0].op_type != "Mul":
        return False
    parts = [given.producer() for given in inner[0].inputs if given is not None]
    return any(part is not None and part.op_type == "Reciprocal" for part in parts)
