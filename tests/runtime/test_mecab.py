"""BertJapanese: transformers' ids for words, characters and SentencePiece pieces; extras; texts too long for MeCab."""

from __future__ import annotations

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sekisho.contract import Passage, Truncation
from sekisho.errors import ConversionFailed, InputTooLong, InvalidRequest
from sekisho.runtime.mecab import Mecab
from tests.runtime.tokenizer_goldens import FOLDER, MECAB, from_files, ids, ids_of, one, texts, tokenizer


@pytest.mark.parametrize("name", MECAB)
def test_every_text_has_transformers_ids(name: str) -> None:
    assert len(texts()) > 600
    own = tokenizer(name)
    wrong = [text for text, golden in zip(texts(), ids_of(name), strict=True) if ids(own, text) != golden]
    assert wrong == []


def test_threads_share_a_tokenizer() -> None:
    own = tokenizer("wordpiece")
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda text: ids(own, text), texts() * 3))
    assert made == ids_of("wordpiece") * 3


@pytest.mark.parametrize("limit", [8, 64])
@pytest.mark.parametrize("truncation", ["end", "start"])
def test_a_long_text_is_cut_as_the_whole_would_be(limit: int, truncation: Truncation) -> None:
    """Forty texts, each read whole and cut far away from what is kept. NUL ends a text for MeCab, so there is none."""
    plain = [text for text in texts() if "\0" not in text]
    for name in MECAB:
        own, whole = tokenizer(name, limit), tokenizer(name)
        for start in range(0, 600, 60):
            text = "".join((plain[start:] + plain)[:400])[: max(20 * limit * 12, 6000)]
            body, room = ids(whole, text)[1:-1], limit - 2
            kept = body[:room] if truncation == "end" else body[len(body) - room :]
            assert ids(own, text, truncation)[1:-1] == kept, (name, start)


@pytest.mark.parametrize(
    "text",
    ["a" * 1_000_000, "あ" * 1_000_000, "検索" * 500_000, " " * 1_000_000, "ー" * 300_000, "🎉" * 300_000],
    ids=["letters", "kana", "words", "spaces", "marks", "emoji"],
)
def test_a_megabyte_neither_crashes_nor_fills_memory(text: str) -> None:
    """MeCab alone dies of the first."""
    assert len(ids(tokenizer("wordpiece", 128), text)) in {2, 128}


def test_what_follows_very_many_spaces_is_read() -> None:
    """MeCab alone forgets what follows 65,535 of them."""
    for space in (" ", "\n", "\u3000"):
        assert ids(tokenizer("wordpiece"), space * 100_000 + "東京駅") == ids(tokenizer("wordpiece"), "東京駅")


def test_without_truncation_a_giant_text_is_refused() -> None:
    with pytest.raises(InputTooLong):
        one(tokenizer("wordpiece", 128), "検索する。" * 50_000, "none")


@pytest.mark.parametrize("name", MECAB)
def test_a_lone_surrogate_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"input\[1\] holds half"):
        tokenizer(name).encode([Passage("a"), Passage("東\ud800")], "end")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("fugashi", r"needs the package fugashi.*pip install 'sekisho\[ja\]'"),
        ("unidic_lite", r"needs the package unidic-lite.*pip install 'sekisho\[ja\]'"),
    ],
)
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, module: str, message: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConversionFailed, match=message):
        tokenizer("wordpiece")


@pytest.mark.parametrize("dictionary", ["ipadic", "unidic"])
def test_another_dictionary_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, dictionary: str) -> None:
    monkeypatch.setitem(sys.modules, dictionary, None)
    with pytest.raises(ConversionFailed, match=f"dictionary {dictionary}.*`pip install {dictionary}`"):
        Mecab(dictionary)


def test_a_vocabulary_without_its_special_tokens_is_refused(tmp_path: Path) -> None:
    source = shutil.copytree(FOLDER / "wordpiece", tmp_path / "source")
    (source / "vocab.txt").write_text("[PAD]\n東京\n", "utf-8")
    with pytest.raises(ConversionFailed, match=r"vocab\.txt has no token '\[UNK\]'"):
        from_files(source, tmp_path / "made")


def test_added_tokens_are_found_in_the_text(tmp_path: Path) -> None:
    """One that the vocabulary knows, one it does not, with ids of their own."""
    source = shutil.copytree(FOLDER / "wordpiece", tmp_path / "source")
    config = json.loads((source / "tokenizer_config.json").read_text("utf-8"))
    config["added_tokens_decoder"] = {
        "5000": {"content": "東京駅", "lstrip": False, "rstrip": False, "normalized": True, "special": False},
        "5001": {"content": "<x>", "lstrip": True, "rstrip": True, "normalized": False, "special": True},
    }
    (source / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    made = ids(from_files(source, tmp_path / "made"), "私は東京駅 <x> で")
    assert [each for each in made if each >= 5000] == [5000, 5001]
    assert made[-2:] == ids(tokenizer("wordpiece"), "で")[-2:]
