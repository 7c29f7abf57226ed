"""Text → token ids, cut to the model's length without losing prompt or query, and at a cost bounded by that length."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

# Parallelism inside one call would take the cores that inference runs on, for a hundredth of the work.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tokenizers import Tokenizer

from sekisho.contract import TOKENIZER_FILE, Contract, Passage, Tokens, Truncation
from sekisho.errors import ConversionFailed, InputTooLong, InvalidRequest
from sekisho.runtime.clip import Rule, rule_of
from sekisho.runtime.framing import Frame, bare, read_frame, shared_lengths
from sekisho.runtime.normalization import normalizer

#: First guess of how much text fills a model: more than prose of any language needs, so one guess is nearly always
#: enough.
_CHARS_PER_TOKEN = 12
_GROWTH = 8

#: A text's own ids, without special tokens, and whether all of the text is in them.
_Body = tuple[list[int], bool]


class Splitter(Protocol):
    """Text → the ids of its own tokens.

    name: its file, for errors; ids: one more than its highest id; single, pair: the special tokens around one text and
    two; clip: how much of a long text is enough.
    """

    @property
    def name(self) -> str: ...

    @property
    def ids(self) -> int: ...

    @property
    def single(self) -> Frame: ...

    @property
    def pair(self) -> Frame | None: ...

    @property
    def clip(self) -> Rule: ...

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Raises TypeError or UnicodeError for a text that has no UTF-8."""
        ...


class TextTokenizer:
    """A prepared model's tokenizer, under the model's own limits."""

    def __init__(self, directory: Path, contract: Contract) -> None:
        """Raises ConversionFailed where there is no tokenizer, one with more ids than the model has rows, or one that
        needs an extra.
        """
        splitter = _splitter(directory, contract)
        if splitter.ids > contract.vocabulary:
            raise ConversionFailed(
                f"{splitter.name} has {splitter.ids:,} ids, the model {contract.vocabulary:,} rows: "
                "it is another model's"
            )
        self._splitter = splitter
        self._single = splitter.single if contract.special_tokens else bare(1)
        self._pair = splitter.pair if contract.special_tokens else bare(2)
        self._normalize = normalizer(contract.normalization)
        self._limit = contract.max_tokens
        self._vocabulary = contract.vocabulary

    def encode(self, passages: Sequence[Passage], truncation: Truncation) -> list[Tokens]:
        """One Tokens a passage, each of at most the model's length; a text that several share is tokenised once.

        Raises InputTooLong where truncation is `none` and a passage is longer, InvalidRequest for foreign ids and for
        texts with lone surrogates.
        """
        passages = [self._normalized(passage) for passage in passages]
        try:
            bodies = self._bodies(passages, truncation)
        except (TypeError, UnicodeError):  # what the libraries raise for a text that has no UTF-8
            raise _no_unicode(passages) from None
        return [
            self._two(index, bodies[passage.text], bodies[passage.pair], truncation)
            if passage.pair is not None
            else self._one(index, passage, self._own(index, passage) or bodies[passage.text], truncation)
            for index, passage in enumerate(passages)
        ]

    def _normalized(self, passage: Passage) -> Passage:
        """The prompt stays as the model's authors wrote it."""
        if self._normalize is None or passage.ids is not None:
            return passage
        prompt, text = passage.text[: passage.prompt_chars], passage.text[passage.prompt_chars :]
        pair = passage.pair if passage.pair is None else self._normalize(passage.pair)
        return Passage(prompt + self._normalize(text), passage.prompt_chars, pair=pair)

    def _bodies(self, passages: Sequence[Passage], truncation: Truncation) -> dict[str, _Body]:
        wanted: dict[str, None] = {}
        for passage in passages:
            if passage.ids is None:
                wanted[passage.text] = None
            if passage.pair is not None:
                wanted[passage.pair] = None
        size = self._limit * _CHARS_PER_TOKEN
        bodies: dict[str, _Body] = {}
        if truncation != "none":
            bodies = {text: self._long(text, size, truncation) for text in wanted if len(text) > size}
        rest = [text for text in wanted if text not in bodies]
        bodies |= {text: (ids, True) for text, ids in zip(rest, self._splitter.encode(rest), strict=True)}
        return bodies

    def _long(self, text: str, size: int, truncation: Truncation) -> _Body:
        """As much of a very long text as surely fills the model: a page of megabytes costs what its first part does."""
        while size < len(text):
            part = self._splitter.clip(text, size, truncation)
            if part is None:
                break
            shown, unsure = part
            ids = self._splitter.encode([shown])[0]
            if len(ids) >= self._limit + unsure:
                return ids, False
            size *= _GROWTH
        return self._splitter.encode([text])[0], True

    def _one(self, index: int, passage: Passage, body: _Body, truncation: Truncation) -> Tokens:
        ids, room = body[0], self._limit - self._single.taken
        if len(ids) <= room:
            return self._single.around(ids)
        if truncation == "none":
            raise InputTooLong(
                f"input[{index}] is {len(ids) + self._single.taken:,} tokens long and the model reads "
                f"{self._limit:,}: shorten it, or let the server cut it (`truncate`: true)",
                param="input",
            )
        if truncation == "start":
            prompt = self._prompt_tokens(passage)[:room]
            ids = prompt + ids[len(ids) - (room - len(prompt)) :]
        return self._single.around(ids[:room], truncated=True)

    def _two(self, index: int, first: _Body, second: _Body, truncation: Truncation) -> Tokens:
        if self._pair is None:
            raise ConversionFailed(f"{self._splitter.name} does not say how two texts are put together")
        texts, room = (first[0], second[0]), self._limit - self._pair.taken
        lengths = shared_lengths(len(texts[0]), len(texts[1]), room, odd_to_first=self._pair.odd_to_first)
        if lengths == tuple(map(len, texts)):
            return self._pair.around(*texts)
        if truncation == "none":
            raise InputTooLong(
                f"documents[{index}] and the query are {sum(map(len, texts)) + self._pair.taken:,} tokens long and the "
                f"model reads {self._limit:,}: shorten them, or let the server cut the document (`truncate`: true)",
                param="documents",
            )
        kept = [
            ids[:length] if truncation == "end" else ids[len(ids) - length :]
            for ids, length in zip(texts, lengths, strict=True)
        ]
        return self._pair.around(*kept, truncated=True)

    def _own(self, index: int, passage: Passage) -> _Body | None:
        """Ids the client made with the model's own tokenizer: checked, without the special tokens around them."""
        if passage.ids is None:
            return None
        ids = list(passage.ids)
        foreign = next((i for i in ids if not 0 <= i < self._vocabulary), None)
        if foreign is not None:
            raise InvalidRequest(
                f"input[{index}] holds the token id {foreign}; this model's vocabulary ends at {self._vocabulary - 1}",
                param="input",
            )
        head, tail = self._single.head, self._single.tail
        if head and ids[: len(head)] == head:
            ids = ids[len(head) :]
        if tail and ids[-len(tail) :] == tail:
            ids = ids[: -len(tail)]
        return ids, True

    def _prompt_tokens(self, passage: Passage) -> list[int]:
        """The prompt's own tokens, whatever word the text after it begins with."""
        if not passage.prompt_chars:
            return []
        return self._splitter.encode([passage.text[: passage.prompt_chars]])[0]


def _splitter(directory: Path, contract: Contract) -> Splitter:
    if contract.tokenizer == "tokenizer_json":
        return JsonTokenizer(directory / TOKENIZER_FILE)
    from sekisho.runtime.subwords import SubwordTokenizer  # needs an extra

    return SubwordTokenizer(directory, contract.max_tokens)


class JsonTokenizer:
    """The `tokenizers` library; the truncation and padding in its file are not used."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._tokenizer = load_tokenizer(path)
        self.ids = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        single = self._frame(1)
        if single is None:
            raise ConversionFailed(f"{path.name} does not say what goes around a text")
        self.single, self.pair = single, self._frame(2)
        own = self._tokenizer.normalizer
        self.clip = rule_of(json.loads(path.read_text("utf-8")), own.normalize_str if own is not None else str)

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [each.ids for each in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def _frame(self, texts: int) -> Frame | None:
        for probe in ("a", "1", "あ", ".", "\U0002a6a5"):  # a static vocabulary may know none of the first
            made = self._tokenizer.encode(probe, probe if texts == 2 else None)
            frame = read_frame(made.ids, made.type_ids, made.sequence_ids, texts)
            if frame is not None:
                return frame
        return None


def load_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer.json without the truncation and padding its author happened to save."""
    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception for a file it cannot read
        raise ConversionFailed(f"{path.name} is not a readable tokenizer: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _no_unicode(passages: Sequence[Passage]) -> InvalidRequest:
    broken = [
        i
        for i, passage in enumerate(passages)
        if any("\ud800" <= c <= "\udfff" for c in f"{passage.text}{passage.pair or ''}")
    ]
    return InvalidRequest(
        f"input[{', '.join(map(str, broken))}] holds half of a surrogate pair, which is no character", param="input"
    )
