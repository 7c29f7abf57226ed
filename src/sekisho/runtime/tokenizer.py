"""Text → token ids, cut to the model's length without losing prompt or query, and at a cost bounded by that length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from sekisho.contract import POOLING_MASK, TOKENIZER_FILE, Contract, Passage, Tokens, Truncation
from sekisho.errors import ConversionFailed, InvalidRequest
from sekisho.runtime.clip import Rule
from sekisho.runtime.fitting import Fitting
from sekisho.runtime.framing import Frame, bare
from sekisho.runtime.json_tokenizer import JsonTokenizer
from sekisho.runtime.normalization import normalizer
from sekisho.runtime.spelling import Piece

#: First guess of how much text fills a model: more than prose of any language needs, so one guess is nearly always
#: enough.
_CHARS_PER_TOKEN = 12
_GROWTH = 8
#: Prompts whose length is remembered; a request's own instructions make more of them than a model has.
_PROMPTS_COUNTED = 256

#: A text's own ids, without special tokens, and whether all of the text is in them.
_Body = tuple[list[int], bool]


class Splitter(Protocol):
    """Text → the ids of its own tokens.

    name: its file, for errors; ids: one more than its highest id; unknown: what stands for what it does not know;
    single, pair: the special tokens around one text and two; clip: how much of a long text is enough.
    """

    @property
    def name(self) -> str: ...

    @property
    def ids(self) -> int: ...

    @property
    def unknown(self) -> int | None: ...

    @property
    def single(self) -> Frame: ...

    @property
    def pair(self) -> Frame | None: ...

    @property
    def clip(self) -> Rule: ...

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Raises TypeError or UnicodeError for a text that has no UTF-8."""
        ...

    def pieces(self, text: str) -> list[Piece]: ...

    def name_of(self, token_id: int) -> str: ...

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str: ...


class TextTokenizer:
    """A prepared model's tokenizer, under the model's own limits.

    wordless: ids of tokens that say nothing of a text: those around it, padding, and what stands for the unknown.
    """

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
        pair = splitter.pair if contract.special_tokens else bare(2)
        self._normalize = normalizer(contract.normalization)
        self._limit = contract.max_tokens
        self._prompt_apart = POOLING_MASK in contract.inputs
        self._framed_prompt = contract.pooling != "latent"
        self._prompt_length = lru_cache(_PROMPTS_COUNTED)(self._count_prompt)
        self._few_prompts = lru_cache(_PROMPTS_COUNTED)(self._prompt_ids)
        self._fitting = Fitting(self._limit, self._single, pair, splitter.name, self._remembered)
        self._vocabulary = contract.vocabulary
        unknown = [] if splitter.unknown is None else [splitter.unknown]
        self.wordless = np.array([*splitter.single.head, *splitter.single.tail, contract.pad_id, *unknown], np.int32)

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
        return [self._fitted(index, passage, bodies, truncation) for index, passage in enumerate(passages)]

    def spell(self, passage: Passage, *, special: bool) -> list[Piece]:
        """The tokens of one whole text, uncut; `special`: with those that the model gets around it.

        Places are in the text as the tokenizer sees it: after its prompt, and normalised where the model's texts are.
        Raises InvalidRequest for texts with lone surrogates.
        """
        passage = self._normalized(passage)
        try:
            own = self._splitter.pieces(passage.text)
        except (TypeError, UnicodeError):
            raise _no_unicode([passage]) from None
        if not special:
            return own
        head, tail = (
            [Piece(token_id, self._splitter.name_of(token_id), special=True) for token_id in run]
            for run in (self._single.head, self._single.tail)
        )
        return [*head, *own, *tail]

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        """The text of the model's own token ids. Raises InvalidRequest for ids outside its vocabulary."""
        foreign = next((i for i in ids if not 0 <= i < self._splitter.ids), None)
        if foreign is not None:
            last = self._splitter.ids - 1
            raise InvalidRequest(f"`ids` holds {foreign}; this model's vocabulary ends at {last}", param="ids")
        return self._splitter.decode(ids, skip_special=skip_special)

    def _normalized(self, passage: Passage) -> Passage:
        """The prompt stays as the model's authors wrote it."""
        if self._normalize is None or passage.ids is not None:
            return passage
        prompt, text = passage.text[: passage.prompt_chars], passage.text[passage.prompt_chars :]
        pair = passage.pair if passage.pair is None else self._normalize(passage.pair)
        return replace(passage, text=prompt + self._normalize(text), pair=pair)

    def _bodies(self, passages: Sequence[Passage], truncation: Truncation) -> dict[str, _Body]:
        wanted: dict[str, None] = {}
        for passage in passages:
            if passage.ids is None:
                wanted[passage.text] = None
            if passage.pair is not None:
                wanted[passage.pair] = None
            if passage.frame is not None:
                wanted |= dict.fromkeys(passage.frame)
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

    def _fitted(self, index: int, passage: Passage, bodies: dict[str, _Body], truncation: Truncation) -> Tokens:
        if passage.pair is not None:
            query, document = bodies[passage.text][0], bodies[passage.pair][0]
            return self._fitting.two(index, passage, query, document, truncation)
        if passage.frame is not None:
            opening, closing = (bodies[text][0] for text in passage.frame)
            return self._fitting.framed(index, passage, bodies[passage.text][0], opening, closing, truncation)
        return self._single_text(index, passage, self._own(index, passage) or bodies[passage.text], truncation)

    def _remembered(self, prompt: str) -> list[int]:
        """A prompt may hold a query: long ones are not kept."""
        few = len(prompt) <= self._limit * _CHARS_PER_TOKEN
        return self._few_prompts(prompt) if few else self._prompt_ids(prompt)

    def _prompt_ids(self, prompt: str) -> list[int]:
        return self._long(prompt, self._limit * _CHARS_PER_TOKEN, "end")[0]

    def _single_text(self, index: int, passage: Passage, body: _Body, truncation: Truncation) -> Tokens:
        tokens = self._fitting.one(index, passage, body[0], truncation)
        if not self._prompt_apart or not passage.prompt_chars:
            return tokens
        return replace(tokens, prompt=self._prompt_length(passage.text[: passage.prompt_chars]))

    def _count_prompt(self, prompt: str) -> int:
        """How many leading tokens are the prompt's, by the count of those who trained the model.

        sentence-transformers counts the prompt alone with all its special tokens but the last of those behind it.
        NV-Embed counts it without any, so that the special token before it takes the place of its last one, which is
        the space that the text's first token swallows.
        """
        own = len(self._prompt_ids(prompt))
        if not self._framed_prompt:
            return min(own, self._limit)
        head, tail = len(self._single.head), len(self._single.tail)
        return head + min(own, self._limit - self._single.taken) + max(tail - 1, 0)

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


def _splitter(directory: Path, contract: Contract) -> Splitter:
    if contract.tokenizer == "tokenizer_json":
        return JsonTokenizer(directory / TOKENIZER_FILE)
    from sekisho.runtime.subwords import SubwordTokenizer  # needs an extra

    return SubwordTokenizer(directory, contract.max_tokens)


def _no_unicode(passages: Sequence[Passage]) -> InvalidRequest:
    broken = [
        i
        for i, passage in enumerate(passages)
        if any("\ud800" <= c <= "\udfff" for c in f"{passage.text}{passage.pair or ''}")
    ]
    field = passages[broken[0]].field if broken else "input"
    return InvalidRequest(
        f"{field}[{', '.join(map(str, broken))}] holds half of a surrogate pair, which is no character", param=field
    )
