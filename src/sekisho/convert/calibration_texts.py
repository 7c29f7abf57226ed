"""The texts that an int8 graph's scales and roundings are fitted to; none of them is among those that judge it.

Topics in Japanese and English from which queries, sentences, paragraphs and short pages are made, and what else comes
to an embedding server: code, logs, addresses, emoji, single words, other scripts.
"""

from __future__ import annotations

import json
from importlib import resources

from sekisho.contract import Kind, Passage


def calibration(kind: Kind) -> list[Passage]:
    """Some 250 texts; for a reranker some 120 pairs of a query with a text of its own topic, and of another."""
    file = json.loads(resources.files("sekisho").joinpath("data/calibration.json").read_text("utf-8"))
    topics: list[dict[str, list[str]]] = file["topics"]
    english, japanese = ([joint.join(topic[key][1:]) for topic in topics] for key, joint in (("en", " "), ("ja", "")))
    if kind == "reranker":
        return _pairs([(topic["en"][0], topic["ja"][0]) for topic in topics], english, japanese)
    pages = [f"{first} {second}" for first, second in zip(english[::4], english[1::4], strict=True)]
    pages += [first + second for first, second in zip(japanese[2::4], japanese[3::4], strict=True)]
    sentences = [text for topic in topics for text in (*topic["en"], *topic["ja"])]
    return [Passage(text) for text in (*file["others"], *sentences, *english, *japanese, *pages)]


def _pairs(queries: list[tuple[str, str]], english: list[str], japanese: list[str]) -> list[Passage]:
    count = len(queries)
    return [
        Passage(query, pair=documents[(index + step) % count])
        for index, asked in enumerate(queries)
        for step in (0, 1, 7)
        for query, documents in zip(asked, (english, japanese), strict=True)
    ]
