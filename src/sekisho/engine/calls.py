"""How passages become calls of an API, and answers rows again. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sekisho.contract import Passage, Rows
from sekisho.errors import UpstreamFailed
from sekisho.runtime.remote.caller import Called

#: In place of "", which most services refuse.
_BLANK = " "


@dataclass(frozen=True, slots=True)
class Group:
    """Texts that may share a call, and which passages they are.

    query: what they are documents for; None: they are embedded, as texts of this kind and width.
    """

    texts: tuple[str, ...]
    places: tuple[int, ...]
    query: str | None = None
    document_tokens: int | None = None
    kind: str | None = None
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """The texts of one call, and which passages they are."""

    texts: tuple[str, ...]
    places: tuple[int, ...]

    def split(self, most: int) -> list[Piece]:
        """In pieces of at most this many."""
        return [
            Piece(self.texts[start : start + most], self.places[start : start + most])
            for start in range(0, len(self.texts), most)
        ]


def grouped(passages: Sequence[Passage], *, takes_empty: bool) -> list[Group]:
    """Passages by what a call can say once: the query of pairs, the kind and width of texts."""
    places: dict[tuple[str | None, int | None, str | None, int | None], list[int]] = {}
    for place, passage in enumerate(passages):
        query = None if passage.pair is None else passage.text
        key = (query, passage.document_tokens, passage.kind, passage.dimensions)
        places.setdefault(key, []).append(place)
    blank = "" if takes_empty else _BLANK
    return [
        Group(
            tuple(_text(passages[place]) or blank for place in found),
            tuple(found),
            None if query is None else query or blank,
            document_tokens,
            kind,
            dimensions,
        )
        for (query, document_tokens, kind, dimensions), found in places.items()
    ]


def _text(passage: Passage) -> str:
    return passage.text if passage.pair is None else passage.pair


def pieces(group: Group, most: int | None, most_chars: int | None) -> Iterator[Piece]:
    """A group in calls of at most so many texts and characters, in order. A text that is too long goes alone.

    The query counts once for each of its documents.
    """
    texts: list[str] = []
    chars = 0
    start = 0
    for text in group.texts:
        size = len(text) + len(group.query or "")
        full = most is not None and len(texts) >= most
        if texts and (full or (most_chars is not None and chars + size > most_chars)):
            yield Piece(tuple(texts), group.places[start : start + len(texts)])
            start += len(texts)
            texts, chars = [], 0
        texts.append(text)
        chars += size
    yield Piece(tuple(texts), group.places[start:])


def merged(answers: Sequence[tuple[Piece, Called]], count: int) -> Rows:
    """Rows in the order of the passages. Raises UpstreamFailed where widths differ."""
    widths = {called.answer.rows.shape[1] for _, called in answers}
    if len(widths) != 1:
        raise UpstreamFailed("The service gave vectors of different widths for one request: its replicas differ")
    rows = np.empty((count, widths.pop()), np.float32)
    for piece, called in answers:
        rows[list(piece.places)] = called.answer.rows
    return rows
