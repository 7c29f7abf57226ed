"""Texts as the arrays a packed graph takes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.arrays import pad, tokens_run, where
from sekisho.contract import Tokens

PACKED = ("input_ids", "attention_mask", "places", "slots")
PAD = 99

batches = st.lists(st.lists(st.integers(1, 9), max_size=40), min_size=1, max_size=12)


@given(batches)
def test_every_token_is_found_by_its_place_and_shown_in_its_slot(batch: list[list[int]]) -> None:
    inputs = pad([Tokens(ids) for ids in batch], PAD, PACKED)
    flat = inputs["input_ids"].ravel()[inputs["places"]]
    assert flat[: sum(map(len, batch))].tolist() == [one for ids in batch for one in ids]
    shown = flat[inputs["slots"]]
    for row, ids in enumerate(batch):
        assert shown[row, : len(ids)].tolist() == ids


@given(batches)
def test_padding_shows_its_own_row_alone(batch: list[list[int]]) -> None:
    """What one text holds never meets another, not even times zero: a value that is no number stays with it."""
    inputs = pad([Tokens(ids) for ids in batch], PAD, PACKED)
    rows = inputs["places"] // inputs["slots"].shape[1]
    for row, ids in enumerate(batch):
        beside = rows[inputs["slots"][row, len(ids) :]]
        assert all(not batch[each] or each == row for each in beside)


@given(batches)
def test_sizes(batch: list[list[int]]) -> None:
    inputs = pad([Tokens(ids) for ids in batch], PAD, PACKED)
    assert inputs["slots"].shape == inputs["input_ids"].shape == inputs["attention_mask"].shape
    assert inputs["slots"].shape[1] % 16 == 0
    assert len(inputs["places"]) == tokens_run([*map(len, batch)], packed=True)
    assert len(inputs["places"]) % 8 == 0
    assert {array.dtype for array in inputs.values()} == {np.dtype(np.int32)}


@pytest.mark.parametrize(("lengths", "padded", "packed"), [([5, 3], 10, 8), ([8], 8, 8), ([0], 1, 8), ([9, 0], 18, 16)])
def test_tokens_that_are_computed_on(lengths: list[int], padded: int, packed: int) -> None:
    assert tokens_run(lengths, packed=False) == padded
    assert tokens_run(lengths, packed=True) == packed


def test_a_graph_that_is_not_packed_is_given_neither() -> None:
    inputs = pad([Tokens([1, 2, 3])], PAD, ("input_ids", "attention_mask"))
    assert list(inputs) == ["input_ids", "attention_mask"]
    assert inputs["input_ids"].shape == (1, 3)


def test_tokens_are_as_many_as_a_multiple_asked_for() -> None:
    mask = np.array([[1, 1, 1], [1, 0, 0]], np.int32)
    assert where(mask, 1)["places"].tolist() == [0, 1, 2, 3]
    assert where(mask, 16)["places"].tolist() == [0, 1, 2, 3, *[0] * 12]
    assert where(mask, 1)["slots"].tolist() == [[0, 1, 2], [3, 3, 3]]
