"""The sizes batches are given on devices, and that rows come back as they were."""

from __future__ import annotations

import numpy as np
import pytest

from sekisho.arrays import Inputs
from sekisho.runtime.device import Kind
from sekisho.runtime.shapes import fitted, shrink, stretch


def test_on_a_card_tokens_are_a_multiple_of_eight_within_what_the_graph_takes() -> None:
    for length in range(1, 515):
        rows, tokens = fitted("cuda", 3, length, 514)
        assert rows == 3
        assert length <= tokens <= 514
        assert tokens % 8 == 0 or tokens == 514
        assert tokens - length < 8


def test_a_device_that_compiles_sees_few_shapes() -> None:
    shapes = {fitted("migraphx", rows, length, 512) for rows in range(1, 257) for length in range(1, 513)}
    assert len(shapes) == 9 * 6
    assert all(length <= 512 for _, length in shapes)
    assert fitted("migraphx", 5, 17, 512) == (8, 32)
    assert fitted("migraphx", 1, 400, 500) == (1, 500), "the longest the graph takes is no power of two"


@pytest.mark.parametrize("kind", ["cpu", "coreml"])
def test_elsewhere_a_batch_is_as_it_is(kind: Kind) -> None:
    assert fitted(kind, 3, 17, 512) == (3, 17)


@pytest.mark.parametrize("kind", ["cpu", "cuda", "migraphx", "coreml"])
def test_what_is_longer_than_stated_is_not_cut(kind: Kind) -> None:
    assert fitted(kind, 1, 77, 64)[1] == 77


def test_tokens_that_are_added_are_masked_and_rows_are_the_last_again() -> None:
    ids, mask = np.array([[5, 6], [7, 8]], np.int32), np.array([[1, 1], [1, 0]], np.int32)
    inputs: Inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": mask, "pooling_mask": mask}
    longer = stretch(inputs, 3, 4, 9)
    assert longer["input_ids"].tolist() == [[5, 6, 9, 9], [7, 8, 9, 9], [7, 8, 9, 9]]
    for name in ("attention_mask", "token_type_ids", "pooling_mask"):
        assert longer[name].tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    assert {array.dtype for array in longer.values()} == {np.dtype(np.int32)}
    assert stretch(inputs, 2, 2, 9) is inputs


def test_rows_and_tokens_that_were_added_are_gone_again() -> None:
    rows = np.arange(32, dtype=np.float32).reshape(4, 8)
    tokens = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    vectors, sparse, colbert = shrink({"embedding": rows, "sparse": rows, "colbert": tokens}, 3, 2)
    assert (vectors.shape, sparse.shape, colbert.shape) == ((3, 8), (3, 2), (3, 2, 4))
    assert all(part.flags.c_contiguous for part in (vectors, sparse, colbert))
