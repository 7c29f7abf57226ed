"""The seam the service sees: passages in, rows out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Protocol

from sekisho.contract import Contract, Inference, Passage, Timings, Tokens, Truncation
from sekisho.engine.scheduler import Scheduler
from sekisho.errors import BodyTooLarge, InvalidRequest
from sekisho.runtime.model import Model
from sekisho.runtime.spelling import Piece

#: Below this many characters tokenising is quicker than handing it to another thread and back.
_INLINE_CHARS = 2_000


class Engine(Protocol):
    """A model that answers: local behind its queue, or elsewhere.

    `infer` gives a row a passage, and of `contract.heads` those named.
    """

    @property
    def contract(self) -> Contract: ...

    @property
    def queued_tokens(self) -> int: ...

    @property
    def healthy(self) -> bool: ...

    async def infer(
        self, passages: Sequence[Passage], truncation: Truncation, heads: Sequence[str] = ()
    ) -> Inference: ...

    def close(self) -> None: ...


class LocalEngine:
    """A model of this process behind its queue."""

    def __init__(self, model: Model, scheduler: Scheduler, tokenizing: Executor, max_request_tokens: int) -> None:
        self.contract = model.contract
        self._model = model
        self._scheduler = scheduler
        self._tokenizing = tokenizing
        self._max_request_tokens = max_request_tokens

    @property
    def queued_tokens(self) -> int:
        return self._scheduler.queued_tokens

    @property
    def healthy(self) -> bool:
        return self._scheduler.healthy

    async def infer(self, passages: Sequence[Passage], truncation: Truncation, heads: Sequence[str] = ()) -> Inference:
        """Raises InputTooLong, InvalidRequest, BodyTooLarge, Overloaded, InternalError."""
        for name in heads:
            if name not in self.contract.heads:
                raise InvalidRequest(f"This model gives no {name} vectors", param="model")
        began = time.perf_counter()
        texts = await self._encode(passages, truncation)
        tokenized = time.perf_counter()
        tokens = sum(map(len, texts))
        if tokens > self._max_request_tokens:
            raise BodyTooLarge(
                f"The request holds {tokens:,} tokens; at most {self._max_request_tokens:,} fit into one: split it",
                param="input",
            )
        result = await self._scheduler.run(texts, heads)
        norms = result.outputs[1][:, 0] if len(result.outputs) > 1 else None
        return Inference(
            rows=result.outputs[0],
            norms=norms,
            tokens=tokens,
            truncated=sum(text.truncated for text in texts),
            timings=Timings(result.queue_seconds, tokenized - began, result.run_seconds),
            counts=texts,
            texts=texts,
            heads=result.heads,
        )

    async def tokenize(self, passages: Sequence[Passage]) -> list[Tokens]:
        """What the model would see of each passage."""
        return await self._encode(passages, "end")

    async def spell(self, passages: Sequence[Passage], *, special: bool) -> list[list[Piece]]:
        """The tokens of whole texts, for people to read. Raises InvalidRequest."""

        def spell() -> list[list[Piece]]:
            return [self._model.spell(passage, special=special) for passage in passages]

        return await asyncio.get_running_loop().run_in_executor(self._tokenizing, spell)

    async def decode(self, ids: Sequence[Sequence[int]], *, skip_special: bool) -> list[str]:
        """The texts of the model's own token ids. Raises InvalidRequest."""

        def decode() -> list[str]:
            return [self._model.decode(each, skip_special=skip_special) for each in ids]

        return await asyncio.get_running_loop().run_in_executor(self._tokenizing, decode)

    async def _encode(self, passages: Sequence[Passage], truncation: Truncation) -> list[Tokens]:
        if sum(len(passage.text) + len(passage.pair or "") for passage in passages) <= _INLINE_CHARS:
            return self._model.encode(passages, truncation)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._tokenizing, self._model.encode, passages, truncation)

    def close(self) -> None:
        self._scheduler.close()
        self._model.close()
