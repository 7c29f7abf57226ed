"""Passages become calls and answers become rows, whatever the texts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.contract import Passage
from sekisho.engine.calls import Piece, grouped, merged, pieces
from sekisho.errors import UpstreamFailed
from sekisho.runtime.remote.caller import Called
from sekisho.runtime.remote.dialect import Answer

TEXTS = st.lists(st.text("ab", max_size=6), min_size=1, max_size=40)
PASSAGES = st.lists(
    st.builds(
        Passage,
        st.text("xy", max_size=2),
        pair=st.none() | st.text("ab", max_size=4),
        kind=st.sampled_from([None, "query", "document"]),
    ),
    min_size=1,
    max_size=30,
)


def answered(piece: Piece, width: int = 2) -> Called:
    """An answer whose rows tell their text by its length and letters."""
    rows = [[len(text), sum(map(ord, text))][:width] for text in piece.texts]
    return Called(Answer(np.array(rows, np.float32)), 0.0, 0.0)


@given(PASSAGES, st.none() | st.integers(1, 7), st.none() | st.integers(1, 20), st.booleans())
def test_every_passage_is_sent_once_and_its_row_comes_back(
    passages: list[Passage], most: int | None, most_chars: int | None, takes_empty: bool
) -> None:
    answers = []
    for group in grouped(passages, takes_empty=takes_empty):
        for piece in pieces(group, most, most_chars):
            assert most is None or len(piece.texts) <= most
            chars = sum(len(text) + len(group.query or "") for text in piece.texts)
            assert most_chars is None or chars <= most_chars or len(piece.texts) == 1
            answers.append((piece, answered(piece)))
    blank = "" if takes_empty else " "
    sent = [(passage.text if passage.pair is None else passage.pair) or blank for passage in passages]
    np.testing.assert_array_equal(
        merged(answers[::-1], len(passages)), [[len(text), sum(map(ord, text))] for text in sent]
    )


@given(TEXTS, st.integers(1, 9))
def test_a_piece_that_is_too_large_is_split_in_order(texts: list[str], most: int) -> None:
    whole = Piece(tuple(texts), tuple(range(len(texts))))
    parts = whole.split(most)
    assert [text for part in parts for text in part.texts] == texts
    assert [place for part in parts for place in part.places] == list(range(len(texts)))
    assert max(len(part.texts) for part in parts) <= most


def test_rows_of_different_widths_are_no_answer() -> None:
    first, second = Piece(("a",), (0,)), Piece(("b",), (1,))
    with pytest.raises(UpstreamFailed, match="different widths"):
        merged([(first, answered(first, 2)), (second, answered(second, 1))], 2)


def test_what_a_call_says_once_is_said_once() -> None:
    passages = [Passage("q", pair="a"), Passage("q", pair="b"), Passage("r", pair="a"), Passage("t", kind="query")]
    groups = grouped(passages, takes_empty=True)
    assert [(group.query, group.kind, group.texts) for group in groups] == [
        ("q", None, ("a", "b")), ("r", None, ("a",)), (None, "query", ("t",)),
    ]  # fmt: skip
