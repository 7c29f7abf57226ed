"""The sizes that a batch takes on a device: a few tokens or rows more where the device is faster for it; pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sekisho.arrays import Inputs, where
from sekisho.contract import PLACES, SLOTS, TOKEN_HEADS, Rows
from sekisho.runtime.device import Kind

#: Fused attention with a mask reads it eight fp16 numbers at a time, and products of such sizes use the card's fp16
#: units (https://github.com/microsoft/onnxruntime/pull/27831; NVIDIA, "Matrix Multiplication Background").
_CUDA_STEP = 8
#: MIGraphX compiles a program for each shape it meets, which takes seconds to minutes
#: (https://github.com/ROCm/AMDMIGraphX/issues/4618): sizes are powers of two, from here on.
_SHORTEST = 16


def fitted(kind: Kind, rows: int, length: int, longest: int) -> tuple[int, int]:
    """(rows, tokens) that a batch is given; longest: the most tokens that the graph takes."""
    if kind == "cuda":
        return rows, max(length, min(longest, -(-length // _CUDA_STEP) * _CUDA_STEP))
    if kind == "migraphx":
        return _power(rows), max(length, min(longest, _power(max(length, _SHORTEST))))
    return rows, length


def few_sizes(kind: Kind, inputs: Inputs) -> Inputs:
    """Packed inputs with so many tokens that few batches differ in it, for a device that compiles for each shape."""
    if kind != "migraphx" or PLACES not in inputs:
        return inputs
    return inputs | where(inputs["attention_mask"], _power(len(inputs[PLACES])))


def stretch(inputs: Inputs, rows: int, length: int, pad_id: int) -> Inputs:
    """Inputs [B, S] → [rows, length]: tokens that are masked, and rows that are the last one again."""
    have_rows, have_length = inputs["input_ids"].shape
    if (have_rows, have_length) == (rows, length):
        return inputs
    wide = ((0, 0), (0, length - have_length))
    longer = {
        name: np.pad(array, wide, constant_values=pad_id if name == "input_ids" else 0)
        for name, array in inputs.items()
        if name not in {PLACES, SLOTS}
    }
    made = {name: np.pad(array, ((0, rows - have_rows), (0, 0)), mode="edge") for name, array in longer.items()}
    return made if SLOTS not in inputs else made | where(made["attention_mask"])


def shrink(outputs: Mapping[str, Rows], rows: int, length: int) -> list[Rows]:
    """Of outputs [rows or more, …] what belongs to the batch; those of a token have their length again."""
    return [
        np.ascontiguousarray(output[:rows, :length] if name in TOKEN_HEADS else output[:rows], np.float32)
        for name, output in outputs.items()
    ]


def _power(count: int) -> int:
    return 1 << max(0, count - 1).bit_length()
