"""Text → token ids, cut to the model's length without losing the prompt, and at a cost bounded by that length."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

# Parallelism inside one call would take the cores that inference runs on, for a hundredth of the work.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tokenizers import Tokenizer

from sekisho.contract import Contract, Passage, Tokens, Truncation
from sekisho.errors import ConversionFailed, InputTooLong, InvalidRequest

#: First guess of how much text fills a model: more than prose of any language needs, so one guess is nearly always
#: enough.
_CHARS_PER_TOKEN = 12
_GROWTH = 8


class TextTokenizer:
    """The `tokenizers` library under the model's own limits; its file's truncation and padding are not used."""

    def __init__(self, path: Path, contract: Contract) -> None:
        """Raises ConversionFailed where the file is no tokenizer, or one with more ids than the model has rows."""
        self._tokenizer = load_tokenizer(path)
        ids = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=0) + 1
        if ids > contract.vocabulary:
            raise ConversionFailed(
                f"{path.name} has {ids:,} ids, the model {contract.vocabulary:,} rows: it is another model's"
            )
        self._limit = contract.max_tokens
        self._vocabulary = contract.vocabulary
        self._head, self._tail = _special_tokens(self._tokenizer)
        self._longest_word = longest_word(path)

    def encode(self, passages: Sequence[Passage], truncation: Truncation) -> list[Tokens]:
        """One Tokens a passage, each of at most the model's length.

        Raises InputTooLong where truncation is `none` and a passage is longer, InvalidRequest for foreign ids and for
        texts with lone surrogates.
        """
        try:
            texts = [
                passage.text if truncation == "none" else self._clip(passage, truncation)
                for passage in passages
                if passage.ids is None
            ]
            encoded = iter(self._tokenizer.encode_batch_fast(texts))
        except TypeError:  # what the library raises for a text that has no UTF-8
            raise _no_unicode(passages) from None
        return [
            self._fit(
                index, passage, next(encoded).ids if passage.ids is None else self._own(index, passage), truncation
            )
            for index, passage in enumerate(passages)
        ]

    def _fit(self, index: int, passage: Passage, ids: list[int], truncation: Truncation) -> Tokens:
        if len(ids) <= self._limit:
            return Tokens(ids)
        if truncation == "none":
            raise InputTooLong(
                f"input[{index}] is {len(ids):,} tokens long and the model reads {self._limit:,}: "
                "shorten it, or let the server cut it (`truncate`: true)",
                param="input",
            )
        body = ids[len(self._head) : len(ids) - len(self._tail)]
        room = self._limit - len(self._head) - len(self._tail)
        if truncation == "start":
            prompt = self._prompt_tokens(passage)[:room]
            body = prompt + body[len(body) - (room - len(prompt)) :]
        return Tokens(self._head + body[:room] + self._tail, truncated=True)

    def _own(self, index: int, passage: Passage) -> list[int]:
        """Ids the client made with the model's own tokenizer: checked, and completed with the special tokens."""
        ids = list(passage.ids or ())
        foreign = next((i for i in ids if not 0 <= i < self._vocabulary), None)
        if foreign is not None:
            raise InvalidRequest(
                f"input[{index}] holds the token id {foreign}; this model's vocabulary ends at {self._vocabulary - 1}",
                param="input",
            )
        if ids[: len(self._head)] != self._head:
            ids = self._head + ids
        if self._tail and ids[-len(self._tail) :] != self._tail:
            ids += self._tail
        return ids

    def _prompt_tokens(self, passage: Passage) -> list[int]:
        """The prompt's own tokens, whatever word the text after it begins with."""
        if not passage.prompt_chars:
            return []
        prompt = self._tokenizer.encode(passage.text[: passage.prompt_chars], add_special_tokens=False)
        return list(prompt.ids)

    def _clip(self, passage: Passage, truncation: Truncation) -> str:
        """As much of a very long text as surely fills the model: a page of megabytes costs what its first part does.

        Exact for tokenizers that split into words first: a cut can only change the word it falls into, which gives at
        most `longest_word` tokens. Other tokenizers are given the whole text.
        """
        text, length = passage.text, len(passage.text)
        size = self._limit * _CHARS_PER_TOKEN
        if self._longest_word is None or length <= size:
            return text
        while size < length:
            part = text[:size] if truncation == "end" else text[length - size :]
            if len(self._tokenizer.encode_batch_fast([part])[0].ids) >= self._limit + self._longest_word:
                return part
            size *= _GROWTH
        return text


def load_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer.json without the truncation and padding its author happened to save."""
    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception for a file it cannot read
        raise ConversionFailed(f"{path.name} is not a readable tokenizer: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def longest_word(path: Path) -> int | None:
    """The most tokens one word can give, for tokenizers whose words do not depend on their neighbours; else None.

    WordPiece makes a word over `max_input_chars_per_word` a single unknown token, so no word gives more tokens than
    that.
    """
    values = json.loads(path.read_text("utf-8"))
    model, splitter = values.get("model") or {}, values.get("pre_tokenizer") or {}
    if model.get("type") == "WordPiece" and splitter.get("type") == "BertPreTokenizer":
        return int(model.get("max_input_chars_per_word", 100))
    return None


def _no_unicode(passages: Sequence[Passage]) -> InvalidRequest:
    broken = [i for i, passage in enumerate(passages) if any("\ud800" <= c <= "\udfff" for c in passage.text)]
    return InvalidRequest(
        f"input[{', '.join(map(str, broken))}] holds half of a surrogate pair, which is no character", param="input"
    )


def _special_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer's template puts before and after a single text."""
    probe = tokenizer.encode("a")
    mask, ids = probe.special_tokens_mask, probe.ids
    head = next((i for i, special in enumerate(mask) if not special), len(mask))
    tail = next((i for i, special in enumerate(reversed(mask)) if not special), 0)
    return ids[:head], ids[len(ids) - tail :]
