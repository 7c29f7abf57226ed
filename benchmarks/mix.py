"""A seeded mix of texts as a search service sees them: short queries, paragraphs, long pages; English and Japanese."""

from __future__ import annotations

import random

from tests.goldens.corpus import load_kinds, load_texts

#: Kinds of the corpus whose words the mix is made of.
_SOURCES = ("english-sentence", "english-paragraph", "japanese-sentence", "japanese-paragraph")
#: Half the texts are shorter than this many words; the tail is log-normal, as lengths of real texts are.
_MEDIAN_WORDS = 26
_SIGMA = 0.8
_MOST_WORDS = 230


def texts(count: int, seed: int = 1) -> list[str]:
    """`count` texts, about 40 tokens each in the mean under BERT's English vocabulary, up to its limit of 256."""
    draw = random.Random(seed)  # noqa: S311 - reproducible, not secret
    english, japanese = _words()
    return [_text(draw, english if draw.random() < 0.7 else japanese) for _ in range(count)]


def _words() -> tuple[list[str], list[str]]:
    by_kind: dict[str, list[str]] = {kind: [] for kind in _SOURCES}
    for kind, text in zip(load_kinds(), load_texts(), strict=True):
        if kind in by_kind:
            by_kind[kind].append(text)
    english = " ".join(by_kind["english-sentence"] + by_kind["english-paragraph"]).split()
    japanese = [
        part + "。"
        for text in by_kind["japanese-sentence"] + by_kind["japanese-paragraph"]
        for part in text.split("。")
    ]
    return english, japanese


def _text(draw: random.Random, words: list[str]) -> str:
    count = min(_MOST_WORDS, max(1, round(draw.lognormvariate(0, _SIGMA) * _MEDIAN_WORDS)))
    start = draw.randrange(len(words))
    taken = [words[(start + offset) % len(words)] for offset in range(count)]
    if words[0].endswith("。"):
        return "".join(taken[: max(1, count // 12)])
    return " ".join(taken)
