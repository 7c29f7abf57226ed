"""How texts are batched for the ideal, and for what running them costs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sekisho.bench.ideal import batches_of_neighbours, part
from sekisho.bench.single import batches_of_rows
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


@given(texts, st.floats(1, 40))
def test_batches_have_so_many_rows_in_the_mean(encoded: list[Tokens], rows: float) -> None:
    batches = batches_of_rows(encoded, rows)
    assert [tokens for batch in batches for tokens in batch] == encoded
    assert max(map(len, batches)) - min(map(len, batches)) <= 1
    assert len(batches) == max(1, round(len(encoded) / rows))
