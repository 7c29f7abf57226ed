"""The texts on which a quantised graph is compared with its fp32: short to long, Japanese and English, code, emoji.

They are written for this and tune nothing: int8 is calibrated with others (`calibration_texts.py`).
"""

from __future__ import annotations

import json
from importlib import resources
from typing import TypedDict

from sekisho.contract import Kind, Passage

#: Queries of a reranker's gate, each with a document of every topic in both languages.
_QUERIES = 8
#: Topics that a long text holds.
_LONG = 4


class _Topic(TypedDict):
    """A query, then sentences."""

    en: list[str]
    ja: list[str]


def passages(kind: Kind) -> list[Passage]:
    """At least 300 texts for an embedding model; for a reranker the pairs of `documents_per_query`, query by query."""
    topics, others = _data()
    if kind == "embedding":
        return [Passage(text) for text in _texts(topics, others)]
    documents = [" ".join(topic["en"][1:]) for topic in topics] + ["".join(topic["ja"][1:]) for topic in topics]
    queries = [topic[language][0] for topic in topics[: _QUERIES // 2] for language in ("en", "ja")]
    return [Passage(query, pair=document) for query in queries for document in documents]


def documents_per_query() -> int:
    """How many of a reranker's pairs share a query."""
    return 2 * len(_data()[0])


def _data() -> tuple[list[_Topic], list[str]]:
    file = json.loads(resources.files("sekisho").joinpath("data/gate.json").read_text("utf-8"))
    return file["topics"], file["others"]


def _texts(topics: list[_Topic], others: list[str]) -> list[str]:
    """Queries and sentences, paragraphs of each topic, pages of several, and two languages in one text."""
    english = [" ".join(topic["en"][1:]) for topic in topics]
    japanese = ["".join(topic["ja"][1:]) for topic in topics]
    around = [[(start + step) % len(topics) for step in range(_LONG)] for start in range(len(topics))]
    return [
        *others,
        *(text for topic in topics for text in (*topic["en"], *topic["ja"])),
        *english,
        *japanese,
        *(" ".join(english[index] for index in indices) for indices in around),
        *("".join(japanese[index] for index in indices) for indices in around),
        *(f"{topic['ja'][0]}: {text}" for topic, text in zip(topics, english, strict=True)),
        *(f"{topic['en'][0]}\n{text}" for topic, text in zip(topics, japanese, strict=True)),
    ]
