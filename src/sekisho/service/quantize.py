"""Vectors in fewer bytes, with ranges fixed for good: two servers, or two years, give the same codes."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sekisho.contract import Rows

OutputType = Literal["float", "int8", "uint8", "binary", "ubinary"]
OUTPUT_TYPES: tuple[OutputType, ...] = get_args(OutputType)


def code_range(width: int) -> float:
    """The value that int8 and uint8 give their last code: ±8/√width holds the components of a unit vector."""
    return min(1.0, 8.0 / math.sqrt(width))


def quantize(rows: Rows, kind: OutputType) -> NDArray[Any]:
    """rows [n, width] → float32, int8 or uint8 [n, width], or packed bits [n, ⌈width/8⌉].

    int8 is round(127·x/r), uint8 the same plus 128, with r = `code_range(width)`; beyond it codes saturate.
    ubinary packs x > 0, first component in the highest bit; binary is the same minus 128 as int8: the bit order of
    Cohere and of sentence_transformers.util.quantize_embeddings.
    """
    if kind == "float":
        return rows
    if kind in {"binary", "ubinary"}:
        packed: NDArray[Any] = np.packbits(rows > 0, axis=1)
        return packed if kind == "ubinary" else (packed.astype(np.int16) - 128).astype(np.int8)
    codes: NDArray[Any] = np.clip(np.rint(rows * (127.0 / code_range(rows.shape[1]))), -128, 127)
    return codes.astype(np.int8) if kind == "int8" else (codes + 128).astype(np.uint8)
