"""Attention as one operator, for a card: `Attention` of opset 23 in place of two products and a softmax.

ONNX Runtime's CUDA provider runs it with kernels that never write the scores, a square of the text's length a head
(https://github.com/microsoft/onnxruntime/pull/27542). It takes no mask that is broadcast over the queries, so the mask
is expanded, once for all heads. On CPUs plain operators are level or better (`attention.py`).

Shapes: B rows, N heads, Q queries, K keys, D size of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import onnx_ir as ir

Value = ir.Value


@dataclass(frozen=True)
class Found:
    """query, value: [B, N, Q or K, D]; turned: keys [B, N, D, K]; bias: to be added to scores [B, N, Q, K], if any.

    product: the last node, whose output is the attention's.
    """

    query: Value
    turned: Value
    value: Value
    scale: float
    biases: tuple[Value, ...]
    product: ir.Node


def fuse(graph: ir.Graph) -> int:
    """Replace every attention of `attention.py` and `windows.py`; how many there were."""
    found = [each for node in graph if node.op_type == "Softmax" and (each := _look(node)) is not None]
    masks: dict[tuple[Value, ...], Value] = {}
    for number, each in enumerate(found):
        _replace(graph, each, f"attention.{number}", masks)
    return len(found)


def _look(softmax: ir.Node) -> Found | None:
    """What a softmax is the middle of; None where it is something else."""
    uses = list(softmax.outputs[0].uses())
    if len(uses) != 1 or uses[0].node.op_type != "MatMul" or uses[0].idx != 0:
        return None
    biases, node = [], _producer(softmax.inputs[0])
    while node is not None and node.op_type == "Add":
        first, second = (_some(each) for each in node.inputs)
        biases.append(second)
        node = _producer(first)
    if node is None or node.op_type != "Mul" or (scale := _number(node.inputs[1])) is None:
        return None
    scores = _producer(node.inputs[0])
    if scores is None or scores.op_type != "MatMul":
        return None
    query, turned = (_some(each) for each in scores.inputs)
    product = uses[0].node
    return Found(query, turned, _some(product.inputs[1]), scale, tuple(biases), product)


def _replace(graph: ir.Graph, found: Found, name: str, masks: dict[tuple[Value, ...], Value]) -> None:
    """masks: those of the layers before, by what they were made of: most layers share one."""
    here = found.product
    made: list[ir.Node] = []

    def node(kind: str, *inputs: Value, like: Value | None = None, **attributes: int | float | list[int]) -> Value:
        output = Value(name=f"{name}.{kind.lower()}.{len(made)}", type=None if like is None else like.type)
        made.append(ir.node(kind, inputs, attributes or None, outputs=[output], name=output.name))
        graph.insert_before(here, made[-1])
        return output

    def mask() -> Value:
        """[B, 1 or N, Q, K]."""
        bias = found.biases[0]
        for more in found.biases[1:]:
            bias = node("Add", bias, more, like=bias)
        shape = node(
            "Concat",
            node("Shape", bias, start=0, end=2),
            node("Shape", found.query, start=2, end=3),
            node("Shape", found.turned, start=3, end=4),
            axis=0,
        )
        return node("Expand", bias, shape, like=bias)

    inputs = [found.query, node("Transpose", found.turned, like=found.query, perm=[0, 1, 3, 2]), found.value]
    if found.biases:
        if found.biases not in masks:
            masks[found.biases] = mask()
        inputs.append(masks[found.biases])
    output = found.product.outputs[0]
    mixed = node("Attention", *inputs, like=output, scale=found.scale)
    mixed.shape = output.shape
    ir.convenience.replace_all_uses_with(output, mixed)
    _remove_unused(graph, found.product)


def _remove_unused(graph: ir.Graph, node: ir.Node) -> None:
    """A node nobody reads, and then those that only it read."""
    if any(output.uses() or output.is_graph_output() for output in node.outputs):
        return
    producers = [producer for value in node.inputs if value is not None and (producer := value.producer()) is not None]
    graph.remove(node, safe=True)
    for producer in {id(each): each for each in producers}.values():
        _remove_unused(graph, producer)


def _producer(value: Value | None) -> ir.Node | None:
    return None if value is None else value.producer()


def _some(value: Value | None) -> Value:
    return cast(Value, value)  # these operators have no optional inputs


def _number(value: Value | None) -> float | None:
    """A constant that is one number; None for anything else."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return float(tensor.numpy().item()) if tensor is not None and tensor.size == 1 else None
