"""The tokens of a text as people read them: where each stands, and ids back to text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Piece:
    """A token. start, stop: the bytes of the UTF-8 text it was made of, as text-embeddings-inference counts.

    They are None for special tokens around a text, and where a tokenizer keeps no account of places.
    """

    id: int
    text: str
    special: bool = False
    start: int | None = None
    stop: int | None = None


def placed(text: str, ids: Iterable[int], spans: Iterable[tuple[int, int]]) -> list[Piece]:
    """Tokens with the parts of the text they were made of; `spans` in characters."""
    spans = list(spans)
    if text.isascii():
        return [Piece(id_, text[a:b], start=a, stop=b) for id_, (a, b) in zip(ids, spans, strict=True)]
    bytes_before = [0, *accumulate(len(character.encode("utf-8", "surrogatepass")) for character in text)]
    return [
        Piece(id_, text[a:b], start=bytes_before[a], stop=bytes_before[b])
        for id_, (a, b) in zip(ids, spans, strict=True)
    ]


def joined(tokens: Sequence[str], pieces: str) -> str:
    """Tokens without a tokenizer.json → text, as transformers' `convert_tokens_to_string` puts them together."""
    if pieces in {"sentencepiece", "fairseq"}:
        return "".join(tokens).replace("▁", " ").strip()
    return " ".join(tokens).replace(" ##", "").strip()
