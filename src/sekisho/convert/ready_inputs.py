"""The inputs of a ready-made graph → those of the contract: int32 ids and mask, and the types where it reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from sekisho.contract import PLACES, SLOTS
from sekisho.convert.any_opset import Extension
from sekisho.convert.ready_facts import AFTER_PADDING
from sekisho.convert.ready_graph import ReadyGraph
from sekisho.errors import ConversionFailed

IDS, MASK, TYPES, POSITIONS = "input_ids", "attention_mask", "token_type_ids", "position_ids"
_INTEGERS = (ir.DataType.INT64, ir.DataType.INT32)


@dataclass(frozen=True)
class Taken:
    """ids: as the old nodes read them; mask: int32 [B, S]; names: the graph's inputs, in order."""

    ids: ir.Value
    mask: ir.Value
    names: tuple[str, ...]


def take_inputs(ready: ReadyGraph, extension: Extension, config: Mapping[str, Any], family: str) -> Taken:
    """Put the contract's inputs in place of the graph's own.

    `position_ids` are counted inside the graph, and the types of a model of one type are zero. A graph of our converter
    keeps its `places` and `slots`. Raises ConversionFailed where the graph needs anything else, or fixes how many rows
    or tokens it takes.
    """
    graph = ready.model.graph
    old = {str(value.name): value for value in graph.inputs}
    _check(ready.name, old)
    graph.inputs.clear()
    first = graph[0]
    new = {name: _input(name) for name in (IDS, MASK, TYPES, PLACES, SLOTS) if name in old}
    values: dict[str, ir.Value] = {}
    for name, value in old.items():
        wide = value.dtype == ir.DataType.INT64
        if name == POSITIONS:
            made = _positions(extension, first, new, config, family)
        elif name == TYPES and config.get("type_vocab_size") == 1:
            made = extension.node("Mul", new[IDS], extension.constant(np.array(0, np.int32)), before=first)
            del new[TYPES]
        else:
            made = new[name]
        values[name] = extension.node("Cast", made, before=first, to=int(ir.DataType.INT64)) if wide else made
        value.name = f"sekisho.was.{name}"
        value.replace_all_uses_with(values[name], replace_graph_outputs=True)
    graph.inputs.extend(new.values())
    return Taken(values[IDS], new[MASK], tuple(new))


def _check(name: str, inputs: Mapping[str, ir.Value]) -> None:
    missing = [wanted for wanted in (IDS, MASK) if wanted not in inputs]
    if missing:
        raise ConversionFailed(
            f"{name} takes {', '.join(inputs) or 'nothing'}, and not {' and '.join(missing)}: without a mask the "
            "padding of a batch would change its vectors"
        )
    ours = {PLACES, SLOTS} if PLACES in inputs and SLOTS in inputs else set()
    more = [other for other in inputs if other not in {IDS, MASK, TYPES, POSITIONS} | ours]
    if more:
        raise ConversionFailed(
            f"{name} needs the inputs {', '.join(more)}; only {IDS}, {MASK}, {TYPES} and {POSITIONS} are given. It is "
            "made for another task: export the model for feature extraction, without a cache"
        )
    for key, value in inputs.items():
        if value.dtype not in _INTEGERS:
            raise ConversionFailed(f"{name}: the input {key} is {value.dtype}, expected INT64 or INT32")
        rank = len(_axes(key))
        if value.shape is not None and (len(value.shape) != rank or any(isinstance(size, int) for size in value.shape)):
            raise ConversionFailed(
                f"{name}: the input {key} is of shape {value.shape}, expected any number of rows and of tokens: export "
                "it with dynamic axes"
            )


def _input(name: str) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(ir.DataType.INT32), shape=ir.Shape(_axes(name)))


def _axes(name: str) -> tuple[str, ...]:
    return ("tokens",) if name == PLACES else ("rows", "length")


def _positions(
    e: Extension, first: ir.Node, new: Mapping[str, ir.Value], config: Mapping[str, Any], family: str
) -> ir.Value:
    """int32 [B, S]: 0, 1, 2, … in each row; of families of RoBERTa's kind, as transformers makes them from the mask."""
    axis = e.constant(np.array(1, np.int64))
    if family in AFTER_PADDING or config.get("model_type") in AFTER_PADDING:
        counted = e.node("Mul", e.node("CumSum", new[MASK], axis, before=first), new[MASK], before=first)
        return e.node("Add", counted, e.constant(np.array(config.get("pad_token_id", 1), np.int32)), before=first)
    zeros = e.node("Mul", new[IDS], e.constant(np.array(0, np.int32)), before=first)
    ones = e.node("Add", zeros, e.constant(np.array(1, np.int32)), before=first)
    counted = e.node("CumSum", ones, axis, before=first)
    return e.node("Sub", counted, e.constant(np.array(1, np.int32)), before=first)
