"""Vectors in fewer bytes."""

from __future__ import annotations

import numpy as np
import pytest

from sekisho.contract import Rows
from sekisho.service.quantize import OUTPUT_TYPES, code_range, quantize
from tests.goldens.corpus import load_kinds
from tests.goldens_io import MINILM, cosines, load_golden

#: Texts without a word in them: MiniLM gives them one very large component.
WORDLESS = {"blank", "control", "special-token"}


@pytest.fixture
def rows() -> Rows:
    drawn = np.random.default_rng(5).standard_normal((40, 64)).astype(np.float32)
    drawn[3, :9] = 0.0
    drawn[4, :9] = -0.0
    normalized: Rows = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return normalized


def test_there_are_five_types() -> None:
    assert OUTPUT_TYPES == ("float", "int8", "uint8", "binary", "ubinary")


def test_float_is_the_vector_itself(rows: Rows) -> None:
    assert quantize(rows, "float") is rows


def test_bits_are_those_of_sentence_transformers(rows: Rows) -> None:
    """quantize_embeddings: np.packbits(x > 0), minus 128 as int8 for `binary`."""
    packed = np.packbits(rows > 0).reshape(len(rows), -1)
    np.testing.assert_array_equal(quantize(rows, "ubinary"), packed)
    np.testing.assert_array_equal(quantize(rows, "binary"), (packed - 128).astype(np.int8))
    assert quantize(rows, "ubinary").dtype == np.uint8
    assert quantize(rows, "binary").dtype == np.int8


def test_the_first_component_is_the_highest_bit() -> None:
    row = np.array([[1, -1, -1, -1, -1, -1, -1, 0.5, 0, 1]], np.float32)
    assert quantize(row, "ubinary").tolist() == [[0b1000_0001, 0b0100_0000]]
    assert quantize(row, "binary").tolist() == [[1, -64]]


def test_binary_is_ubinary_less_128() -> None:
    rows = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32) - 0.5
    assert quantize(rows, "ubinary")[:, 0].tolist() == list(range(256))
    assert quantize(rows, "binary")[:, 0].tolist() == list(range(-128, 128))


def test_codes_saturate_and_round() -> None:
    limit = code_range(384)
    row = np.zeros((1, 384), np.float32)
    row[0, :6] = [limit, -limit, 9.0, -9.0, limit / 300, -limit / 127]
    codes = quantize(row, "int8")
    assert codes.dtype == np.int8
    assert codes[0, :7].tolist() == [127, -127, 127, -128, 0, -1, 0]
    unsigned = quantize(row, "uint8")
    assert unsigned.dtype == np.uint8
    assert unsigned[0, :7].tolist() == [255, 1, 255, 0, 128, 127, 128]


@pytest.mark.parametrize(("width", "expected"), [(4, 1.0), (36, 1.0), (384, 0.408248), (768, 0.288675), (1024, 0.25)])
def test_the_published_range(width: int, expected: float) -> None:
    assert code_range(width) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", [MINILM, "tiny-bert-mean", "tiny-bert-max"])
@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_codes_point_where_the_vector_does(name: str, kind: str) -> None:
    vectors = load_golden(name).vectors
    codes = quantize(vectors, "int8") if kind == "int8" else quantize(vectors, "uint8").astype(np.int16) - 128
    agreement = cosines(codes.astype(np.float32), vectors)
    worded = np.array([kind not in WORDLESS for kind in load_kinds()])
    assert agreement[worded].min() >= 0.999
    assert agreement.mean() >= 0.999


def test_how_many_components_of_minilm_exceed_the_range() -> None:
    """One component each of the vectors of texts without a word; of no other text."""
    vectors = load_golden(MINILM).vectors
    beyond = np.abs(vectors) > code_range(vectors.shape[1])
    assert beyond.mean() < 2e-4
    assert beyond.sum(axis=1).max() == 1
    assert {load_kinds()[row] for row in np.flatnonzero(beyond.any(axis=1))} <= WORDLESS
