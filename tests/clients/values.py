"""What the programs are given, and how what they print is read."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np

from sekisho.contract import Rows
from tests.goldens.corpus import load_kinds
from tests.goldens_io import MINILM, cosines, golden_texts, load_golden

#: Cosine to the goldens below which a vector is another.
SAME = 0.9999

_SHORT = {"english-query", "english-sentence", "japanese-query", "mixed-script", "emoji", "short", "number"}


def rows_of(kinds: Iterable[str]) -> list[int]:
    """Where texts of these kinds stand in the corpus."""
    wanted = set(kinds)
    return [row for row, kind in enumerate(load_kinds()) if kind in wanted]


def texts_at(rows: Iterable[int]) -> list[str]:
    texts = golden_texts()
    return [texts[row] for row in rows]


def thousand_rows() -> list[int]:
    """A thousand short texts: the same few in turn, so that a vector in the wrong place shows."""
    short = rows_of(_SHORT)
    return [short[number % len(short)] for number in range(1000)]


def value_of(report: dict[str, Any], step: str) -> Any:
    """What a step of a program gave; fails with its traceback where it raised."""
    result = report[step]
    assert "raised" not in result, result["raised"]
    return result["value"]


def vectors_of(value: dict[str, Any]) -> Rows:
    """The vectors a program packed, bit for bit."""
    packed = value["vectors"]
    flat: Rows = np.frombuffer(base64.b64decode(packed["float32"]), "<f4").astype(np.float32)
    return flat.reshape(packed["rows"], -1)


def assert_same(vectors: Rows, reference: Rows) -> None:
    """Row by row the same vectors, of length one."""
    assert vectors.shape == reference.shape
    assert cosines(vectors, reference).min() >= SAME
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-5)


def golden_vectors(rows: Iterable[int]) -> Rows:
    return load_golden(MINILM).vectors[list(rows)]


def golden_tokens(rows: Iterable[int]) -> int:
    """How many tokens the model sees of these texts."""
    ids = load_golden(MINILM).ids
    return sum(len(ids[row]) for row in rows)


def unit(vectors: Rows) -> Rows:
    """The same directions at length one."""
    same: Rows = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return same
