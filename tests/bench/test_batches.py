"""How texts are batched for the ideal, and for what running them costs."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sekisho.bench.ideal import batches_of_neighbours, part
from sekisho.bench.single import batches_like
from sekisho.contract import Tokens

texts = st.lists(st.integers(1, 300), min_size=1).map(lambda lengths: [Tokens([0] * length) for length in lengths])


@given(texts)
def test_neighbours_in_length_share_a_batch_within_its_limit(encoded: list[Tokens]) -> None:
    batches = batches_of_neighbours(encoded, 256)
    assert [len(tokens) for batch in batches for tokens in batch] == sorted(map(len, encoded))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(map(len, batch)) <= 256


@given(texts, st.integers(1, 5))
def test_the_parts_of_all_batches_are_all_batches(encoded: list[Tokens], share: int) -> None:
    batches = batches_of_neighbours(encoded, 256)
    parts = [part(batches, share, number) for number in range(share)]
    assert sorted(id(batch) for each in parts for batch in each) == sorted(map(id, batches))


BOUNDS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, float("inf"))


@given(st.lists(st.integers(1, 80), min_size=1, max_size=40))
def test_batches_are_like_those_that_were_counted(rows: list[int]) -> None:
    encoded = [Tokens([0]) for _ in range(sum(rows))]
    below = (0.0, *BOUNDS)
    counted = [(high, float(sum(low < each <= high for each in rows))) for low, high in pairwise(below)]
    batches = batches_like(encoded, counted)
    assert [tokens for batch in batches for tokens in batch] == encoded
    assert len(batches) == len(rows)
    if max(rows) <= 64:
        for made, real in zip(sorted(map(len, batches)), sorted(rows), strict=True):
            assert abs(made - real) <= 1 + max(1, real // 2)
