"""Tokens as people read them, and ids back to text: against the libraries that the checkpoints came with."""

from __future__ import annotations

import pytest
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

from sekisho.contract import Passage
from sekisho.errors import InvalidRequest
from sekisho.runtime.spelling import Piece, joined, placed
from tests.runtime.tokenizer_goldens import FAST, FOLDER, MECAB, SENTENCEPIECE, ids_of, texts, tokenizer


def test_places_are_bytes() -> None:
    text = "a猫 b😀"
    pieces = placed(text, [1, 2, 3], [(0, 1), (1, 3), (3, 5)])
    assert pieces == [Piece(1, "a", False, 0, 1), Piece(2, "猫 ", False, 1, 5), Piece(3, "b😀", False, 5, 10)]
    raw = text.encode()
    assert [raw[piece.start : piece.stop].decode() for piece in pieces] == [piece.text for piece in pieces]
    assert placed("ab", [7], [(0, 2)]) == [Piece(7, "ab", False, 0, 2)]
    assert placed("", [], []) == []


def test_tokens_are_put_together_as_transformers_does() -> None:
    assert joined(["こん", "##にちは", "世界"], "wordpiece") == "こんにちは 世界"
    assert joined(["▁the", "▁c", "at", "s"], "sentencepiece") == "the cats"
    assert joined(["▁the", "▁cat"], "fairseq") == "the cat"
    assert joined(["猫", "犬"], "character") == "猫 犬"
    assert joined([], "wordpiece") == ""


@pytest.mark.parametrize("name", [*MECAB, *SENTENCEPIECE, *FAST])
def test_the_tokens_of_every_text_are_transformers(name: str) -> None:
    own = tokenizer(name)
    for text, golden in zip(texts(), ids_of(name), strict=True):
        pieces = own.spell(Passage(text), special=True)
        assert [piece.id for piece in pieces] == golden
        inner = own.spell(Passage(text), special=False)
        assert pieces[len(pieces) - len(inner) - 1 : -1] == inner
        assert all(piece.text for piece in pieces if piece.special)


@pytest.mark.parametrize("name", FAST)
def test_places_are_those_of_the_library(name: str) -> None:
    own, library = tokenizer(name), Tokenizer.from_file(str(FOLDER / name / "tokenizer.json"))
    library.no_truncation()
    library.no_padding()
    for text in texts():
        made, raw = library.encode(text, add_special_tokens=False), text.encode()
        for piece, (start, stop) in zip(own.spell(Passage(text), special=False), made.offsets, strict=True):
            assert piece.text == text[start:stop] == raw[piece.start : piece.stop].decode()
        whole = library.encode(text).ids
        for skip in (True, False):
            assert own.decode(whole, skip_special=skip) == library.decode(whole, skip_special_tokens=skip)


def test_sentencepiece_puts_its_tokens_together_alike() -> None:
    for name in SENTENCEPIECE:
        own = tokenizer(name)
        library = SentencePieceProcessor(model_file=str(FOLDER / name / "sentencepiece.bpe.model"))
        plain = [text for text in texts() if library.unk_id() not in library.encode(text)]
        assert len(plain) > 20
        for text in plain:
            if "<" not in text:
                made = own.decode([p.id for p in own.spell(Passage(text), special=True)], skip_special=True)
                assert made == library.decode(library.encode(text)).strip()


def test_special_tokens_are_left_out_of_a_text_or_not() -> None:
    own = tokenizer("wordpiece")
    pieces = own.spell(Passage("東京駅"), special=True)
    ids = [piece.id for piece in pieces]
    assert (pieces[0].text, pieces[-1].text) == ("[CLS]", "[SEP]")
    assert own.decode(ids, skip_special=False) == f"[CLS] {own.decode(ids, skip_special=True)} [SEP]"
    assert own.decode(ids, skip_special=True).replace(" ", "") == "東京駅"


@pytest.mark.parametrize("name", ["wordpiece", "fast-bert"])
@pytest.mark.parametrize("foreign", [-1, 10**7, 2**70])
def test_ids_of_no_token(name: str, foreign: int) -> None:
    with pytest.raises(InvalidRequest, match=rf"`ids` holds {foreign}; this model's vocabulary ends at \d+"):
        tokenizer(name).decode([foreign], skip_special=True)


def test_half_of_a_character() -> None:
    for name in ("wordpiece", "fast-bert"):
        with pytest.raises(InvalidRequest, match="half of a surrogate pair"):
            tokenizer(name).spell(Passage("a\ud800"), special=True)
