"""What happens to a text before its tokenizer."""

from __future__ import annotations

import sys

import pytest

from sekisho.contract import Normalization, Passage
from sekisho.errors import ConversionFailed
from sekisho.runtime.normalization import normalizer
from sekisho.runtime.tokenizer import TextTokenizer
from tests.runtime.tokenizer_goldens import ids, texts, tokenizer


@pytest.mark.parametrize(
    ("how", "text", "normal"),
    [
        ("nfkc", "ﾊﾞｽ①㍿　Ａ", "バス1株式会社 A"),
        ("nfkc", "か\u3099", "が"),
        ("neologdn", "ﾊﾝｶｸ　ｶﾅ", "ハンカクカナ"),
        ("neologdn", "スーパーーーー", "スーパー"),
        ("neologdn", "ＰＲＭＬ　　副　読　本", "PRML副読本"),
        ("neologdn", "o₋o", "o-o"),
        ("neologdn", "", ""),
    ],
)
def test_what_each_does(how: Normalization, text: str, normal: str) -> None:
    normalize = normalizer(how)
    assert normalize is not None
    assert normalize(text) == normal


def test_none_is_nothing_at_all() -> None:
    assert normalizer("none") is None


@pytest.mark.parametrize("how", ["nfkc", "neologdn"])
def test_texts_and_pairs_are_normalised_and_the_prompt_is_not(how: Normalization) -> None:
    own = tokenizer("fast-roberta", normalization=how)
    plain = tokenizer("fast-roberta")
    normalize = normalizer(how)
    assert normalize is not None
    prompt = "検索クエリ:  Ａ "
    for text in texts()[240:300]:
        (made, pair) = own.encode([Passage(prompt + text, len(prompt)), Passage(text, pair=text)], "end")
        assert list(made.ids) == ids(plain, prompt + normalize(text))
        normal = normalize(text)
        assert pair == plain.encode([Passage(normal, pair=normal)], "end")[0]


def test_native_ids_are_left_alone() -> None:
    own: TextTokenizer = tokenizer("fast-roberta", normalization="nfkc")
    assert list(own.encode([Passage("", ids=(0, 9, 2))], "end")[0].ids) == [0, 9, 2]


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "neologdn", None)
    with pytest.raises(ConversionFailed, match=r"package neologdn.*pip install 'sekisho\[ja\]'"):
        normalizer("neologdn")
