"""Tokens cut to a model's length: the text's, never its prompt's; the document's, never its query's. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass

from sekisho.contract import Passage, Tokens, Truncation
from sekisho.errors import ConversionFailed, InputTooLong
from sekisho.runtime.framing import Frame, shared_lengths

Ids = list[int]


@dataclass(frozen=True)
class Fitting:
    """A model's limit in tokens, and the special tokens around one text and two; pair None: it does not say.

    name: the tokenizer's file, for errors. prompt_ids: a prompt's own tokens, whatever word the text begins with.
    """

    limit: int
    single: Frame
    pair: Frame | None
    name: str
    prompt_ids: Callable[[str], Ids]

    def one(self, index: int, passage: Passage, ids: Ids, truncation: Truncation, around: int = 0) -> Tokens:
        """A text from the ids of its own tokens. `around`: tokens that will stand around what is given back.

        Raises InputTooLong where truncation is `none`.
        """
        ids, shortened = self._shortened(passage, ids, truncation)
        room = self.limit - self.single.taken - around
        if len(ids) <= room:
            return self.single.around(ids, truncated=shortened)
        if truncation == "none":
            raise InputTooLong(
                f"{_place(index, passage)} is {len(ids) + self.single.taken + around:,} tokens long and the model "
                f"reads {self.limit:,}: shorten it, or let the server cut it (`truncate`: true or END)",
                param=passage.field,
            )
        if truncation == "start":
            prompt = self._prompt(passage)[:room]
            ids = prompt + ids[len(ids) - (room - len(prompt)) :]
        return self.single.around(ids[:room], truncated=True)

    def framed(
        self, index: int, passage: Passage, ids: Ids, opening: Ids, closing: Ids, truncation: Truncation
    ) -> Tokens:
        """As Qwen3-Reranker's authors do: the text alone is cut, to what the tokens around it leave."""
        around = len(opening) + len(closing)
        if around + self.single.taken >= self.limit:
            raise ConversionFailed(
                f"the template takes {around:,} tokens and the model reads {self.limit:,}: raise `max_tokens` or "
                "shorten the template in models.yaml"
            )
        tokens = self.one(index, passage, ids, truncation, around)
        return Tokens(array("i", [*opening, *tokens.ids, *closing]), tokens.truncated)

    def two(self, index: int, passage: Passage, query: Ids, document: Ids, truncation: Truncation) -> Tokens:
        """A query and its document. Raises InputTooLong where truncation is `none`."""
        frame = self.pair
        if frame is None:
            raise ConversionFailed(f"{self.name} does not say how two texts are put together")
        most, whole = passage.document_tokens, len(document)
        if most is not None and whole > most:
            document = document[whole - most :] if truncation == "start" else document[:most]
        room = self.limit - frame.taken
        first, second = shared_lengths(len(query), len(document), room, odd_to_first=frame.odd_to_first)
        if first == len(query) and second == len(document):
            return frame.around(query, document, truncated=second < whole)
        if truncation == "none":
            raise InputTooLong(
                f"{_place(index, passage)} and the query are {len(query) + len(document) + frame.taken:,} tokens long "
                f"and the model reads {self.limit:,}: shorten them, or let the server cut the document "
                "(`truncate`: true or END)",
                param=passage.field,
            )
        if truncation == "end":
            return frame.around(query[:first], document[:second], truncated=True)
        return frame.around(query[len(query) - first :], document[len(document) - second :], truncated=True)

    def _shortened(self, passage: Passage, ids: Ids, truncation: Truncation) -> tuple[Ids, bool]:
        """What is left where the request reads only so many tokens of a document, and whether that is less."""
        most = passage.document_tokens
        if most is None or len(ids) <= most:
            return ids, False
        prompt = self._prompt(passage)
        if len(ids) <= len(prompt) + most:
            return ids, False
        if truncation == "start":
            return prompt + ids[len(ids) - most :], True
        return ids[: len(prompt) + most], True

    def _prompt(self, passage: Passage) -> Ids:
        return self.prompt_ids(passage.text[: passage.prompt_chars]) if passage.prompt_chars else []


def _place(index: int, passage: Passage) -> str:
    """Where in its request a text stands; a field of one text has no index."""
    return f"`{passage.field}`" if passage.field == "query" else f"{passage.field}[{index}]"
