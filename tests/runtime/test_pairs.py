"""Two texts at once: transformers' ids and types at every length, and the query read once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.arrays import pad
from sekisho.contract import Passage, Tokens
from sekisho.errors import InputTooLong
from sekisho.runtime.framing import shared_lengths
from tests.runtime.tokenizer_goldens import (
    FAST,
    MECAB,
    SENTENCEPIECE,
    ids,
    ids_of,
    pairs_of,
    recorded,
    texts,
    tokenizer,
)


@pytest.mark.parametrize("name", FAST)
def test_the_fast_tokenizers_have_transformers_ids(name: str) -> None:
    own = tokenizer(name)
    assert [ids(own, text) for text in texts()] == ids_of(name)


@pytest.mark.parametrize("name", [*MECAB, *SENTENCEPIECE, *FAST])
def test_pairs_are_put_together_and_cut_as_transformers_does(name: str) -> None:
    pairs = pairs_of(name)
    for limit in {pair.limit for pair in pairs}:
        asked = [pair for pair in pairs if pair.limit == limit]
        made = tokenizer(name, limit).encode([Passage(texts()[p.first], pair=texts()[p.second]) for p in asked], "end")
        for pair, tokens in zip(asked, made, strict=True):
            assert list(tokens.ids) == pair.ids, pair
            assert list(tokens.type_ids or [0] * len(tokens)) == pair.types, pair
        assert any(tokens.truncated for tokens in made) or limit == max(p.limit for p in pairs)


def test_a_query_is_tokenised_once_for_all_its_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    own = tokenizer("wordpiece", 64)
    read = recorded(own, monkeypatch)
    made = own.encode([Passage("東京駅", pair=text) for text in texts()[:50]], "end")
    assert len(made) == 50
    assert sorted(read) == sorted({"東京駅", *texts()[:50]})


def test_the_query_is_kept_and_the_document_cut_at_the_asked_end() -> None:
    own, whole = tokenizer("wordpiece", 32), tokenizer("wordpiece")
    query, document = "昨日、田中さんは何をしましたか", "".join(texts()[:20])
    first, second = ids(whole, query)[1:-1], ids(whole, document)[1:-1]
    room = 32 - 3 - len(first)
    (end,) = own.encode([Passage(query, pair=document)], "end")
    (start,) = own.encode([Passage(query, pair=document)], "start")
    assert list(end.ids) == [2, *first, 3, *second[:room], 3]
    assert list(start.ids) == [2, *first, 3, *second[-room:], 3]
    assert end.truncated
    assert start.truncated
    with pytest.raises(InputTooLong, match=r"^documents\[0\] and the query are [\d,]+ tokens long"):
        own.encode([Passage(query, pair=document, field="documents")], "none")


def test_single_texts_and_pairs_share_a_request() -> None:
    own = tokenizer("fast-bert")
    alone, both, given_ids = own.encode([Passage("東京"), Passage("東京", pair=""), Passage("", ids=(7,))], "end")
    assert list(both.ids) == [*alone.ids, 3]
    assert list(both.type_ids or ()) == [0] * len(alone) + [1]
    assert alone.type_ids is None
    assert list(given_ids.ids) == [2, 7, 3]


def test_without_special_tokens_there_is_nothing_around_or_between() -> None:
    own = tokenizer("wordpiece", special_tokens=False)
    alone, both, empty = own.encode([Passage("東京"), Passage("東京", pair="東京"), Passage("")], "end")
    assert list(both.ids) == [*alone.ids, *alone.ids]
    assert list(alone.ids) == ids(tokenizer("wordpiece"), "東京")[1:-1]
    assert list(empty.ids) == []


@given(first=st.integers(0, 40), second=st.integers(0, 40), room=st.integers(2, 30), odd=st.booleans())
def test_lengths_fill_the_room_and_leave_both_something(first: int, second: int, room: int, odd: bool) -> None:
    kept = shared_lengths(first, second, room, odd_to_first=odd)
    assert sum(kept) == min(room, first + second)
    assert kept[0] <= first
    assert kept[1] <= second
    assert kept[0] == first or first >= room
    assert not second or kept[1] > 0


def test_types_reach_the_graphs_that_take_them() -> None:
    batch = [Tokens([5, 6, 7], type_ids=[0, 1, 1]), Tokens([8, 9])]
    inputs = pad(batch, 4, ("input_ids", "attention_mask", "token_type_ids"))
    assert inputs["token_type_ids"].dtype == np.int32
    assert inputs["token_type_ids"].tolist() == [[0, 1, 1], [0, 0, 0]]
    assert inputs["input_ids"].tolist() == [[5, 6, 7], [8, 9, 4]]
    assert list(pad(batch, 4, ("input_ids", "attention_mask"))) == ["input_ids", "attention_mask"]
