"""Token ids as OpenAI's clients send them."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import random
from functools import cache
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

from sekisho.errors import InternalError, InvalidRequest
from sekisho.service.token_ids import CL100K_SHA256, cl100k_table, decode_cl100k
from tests.goldens.corpus import load_texts

# As tiktoken's openai_public.py writes it.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@cache
def _ranks() -> dict[bytes, int]:
    return {piece: rank for rank, piece in cl100k_table().items() if rank < 100256}


def encode_cl100k(text: str) -> list[int]:
    """What tiktoken gives, slowly: in each word the neighbours of the lowest rank are joined first."""
    ids: list[int] = []
    for word, _ in Split(Regex(_WORDS), "isolated").pre_tokenize_str(text):
        pieces = [bytes([byte]) for byte in word.encode()]
        while len(pieces) > 1:
            joined = [_ranks().get(a + b, 1 << 30) for a, b in itertools.pairwise(pieces)]
            lowest = min(joined)
            if lowest == 1 << 30:
                break
            at = joined.index(lowest)
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
        ids += [_ranks()[piece] for piece in pieces]
    return ids


# The first is everybody's example; the others are in OpenAI's own guide to counting tokens.
PUBLISHED = [
    ("hello world", [15339, 1917]),
    ("tiktoken is great!", [83, 1609, 5963, 374, 2294, 0]),
    ("antidisestablishmentarianism", [519, 85342, 34500, 479, 8997, 2191]),
    ("2 + 2 = 4", [17, 489, 220, 17, 284, 220, 19]),
    ("お誕生日おめでとう", [33334, 45918, 243, 21990, 9080, 33334, 62004, 16556, 78699]),
]


def test_the_table_is_the_one_that_tiktoken_pins() -> None:
    table = cl100k_table()
    assert set(range(100256)) <= set(table)
    assert len(table) == 100256 + 5
    assert table[100257] == b"<|endoftext|>"
    assert len(set(table.values())) == len(table)
    packed = files("sekisho").joinpath("data/cl100k_base.tiktoken.gz").read_bytes()
    assert hashlib.sha256(gzip.decompress(packed)).hexdigest() == CL100K_SHA256


def test_a_damaged_table_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.service.token_ids.CL100K_SHA256", "0" * 64)
    with pytest.raises(InternalError, match="install Sekisho again"):
        cl100k_table.__wrapped__()


@pytest.mark.parametrize(("text", "ids"), PUBLISHED)
def test_published_ids(text: str, ids: list[int]) -> None:
    assert decode_cl100k(ids, 0) == text
    assert encode_cl100k(text) == ids


def test_two_hundred_texts_come_back() -> None:
    texts = [text for text in dict.fromkeys(load_texts()) if len(text) <= 400][:230]
    assert len(texts) >= 200
    for text in texts:
        assert decode_cl100k(encode_cl100k(text), 0) == text


@given(st.text(max_size=60))
def test_any_text_comes_back(text: str) -> None:
    assert decode_cl100k(encode_cl100k(text), 0) == text


def test_a_piece_cut_inside_an_emoji_ends_in_the_replacement_character() -> None:
    ids = encode_cl100k("家族👨‍👩‍👧")
    cut = decode_cl100k(ids[:-1], 0)
    assert cut.startswith("家族")
    assert cut.endswith("�")
    tail = decode_cl100k(encode_cl100k("🦜")[1:], 0)
    assert set(tail) == {"�"}


def test_pieces_of_any_cut_are_text() -> None:
    ids = encode_cl100k("日本語と😀🎉の混ざった文")
    rng = random.Random(4)
    for _ in range(50):
        start, end = sorted(rng.sample(range(len(ids) + 1), 2))
        assert decode_cl100k(ids[start:end], 0).encode()


def test_special_tokens_are_read_as_their_text() -> None:
    assert decode_cl100k([100257], 0) == "<|endoftext|>"
    assert decode_cl100k([], 0) == ""


@pytest.mark.parametrize("foreign", [-1, 100256, 100261, 200000, 1 << 63])
def test_ids_outside_the_table_say_what_to_change(foreign: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode_cl100k([15339, foreign], 7)
    assert "check_embedding_ctx_length=False" in refused.value.message
    assert f"input[7] holds the token id {foreign}" in refused.value.message
    assert refused.value.param == "input"
