"""A local model behind the results that are kept: what is known is looked up, what is not is computed, each text once.

What a hit gives is bit for bit what was computed, its counts included. Whatever fails while a request is answered in
parts, the request is put to the engine as it came: the answer, or the error, is then the engine's own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sekisho.contract import Contract, Inference, Passage, Timings, Truncation
from sekisho.engine.engine import Engine
from sekisho.engine.flights import Flight, Flights
from sekisho.engine.merging import Plan, merged, planned
from sekisho.engine.result_key import Keys
from sekisho.engine.result_store import ResultStore
from sekisho.engine.results import Result
from sekisho.engine.turns import Turn
from sekisho.observability import CACHE_HITS, CACHE_JOINED, CACHE_MISSES

#: A longer text is computed and not kept: its digest alone would hold the event loop for most of a millisecond.
MOST_CHARS = 64 * 1024
#: Putting more rows together than these takes milliseconds, and is done in a thread.
_MERGED_HERE = 256
#: Up to here a request is surely a short one to the scheduler; a longer one may be bulk.
_SMALL_CHARS = 2_000


class Behind:
    """What an engine behind a cache still says and does itself."""

    def __init__(self, name: str, inner: Engine) -> None:
        """name: the model's, for metrics."""
        self.inner = inner
        self._flights = Flights()
        self._hits, self._misses, self._joined = (
            counter.labels(name) for counter in (CACHE_HITS, CACHE_MISSES, CACHE_JOINED)
        )

    @property
    def contract(self) -> Contract:
        return self.inner.contract

    @property
    def queued_tokens(self) -> int:
        return self.inner.queued_tokens

    @property
    def healthy(self) -> bool:
        return self.inner.healthy

    def close(self) -> None:
        self.inner.close()


def uncached(engine: Engine) -> Engine:
    """The engine itself, for what no cache has: its tokenizer."""
    return engine.inner if isinstance(engine, Behind) else engine


class CachedEngine(Behind):
    """A result for each text."""

    def __init__(self, name: str, inner: Engine, results: ResultStore, keys: Keys, max_request_tokens: int) -> None:
        """max_request_tokens: as the engine has it."""
        super().__init__(name, inner)
        self._results = results
        self._keys = keys
        self._max_request_tokens = max_request_tokens

    async def infer(self, passages: Sequence[Passage], truncation: Truncation, heads: Sequence[str] = ()) -> Inference:
        """As the engine's. What is given for heads is as long as the texts, and is not kept."""
        if heads:
            return await self.inner.infer(passages, truncation, heads)
        chars = list(map(_chars, passages))
        small = sum(chars) <= _SMALL_CHARS
        keys = await self._keys_of(passages, chars, truncation)
        found = await self._found(keys)
        plan = planned(keys, found, lambda key: self._flights.find(key, small=small))
        self._count(plan)
        answer = await self._answer(plan, passages, truncation, small=small)
        if answer is None or answer.tokens > self._max_request_tokens:
            return await self.inner.infer(passages, truncation)
        return answer

    async def _answer(
        self, plan: Plan, passages: Sequence[Passage], truncation: Truncation, *, small: bool
    ) -> Inference | None:
        """The answer by this plan; None where something failed that is not the whole request's failure.

        Between planning and joining nothing is awaited, so that two equal requests cannot pass each other.
        """
        own = self._begin(plan, passages, truncation, small=small) if plan.run else None
        for flight in plan.joined:
            flight.join()
        try:
            return await _gathered(plan, own)
        except Exception:
            if len(plan.run) == len(passages):
                raise
            return None
        finally:
            for flight in [*plan.joined, *([] if own is None else [own])]:
                flight.leave()

    async def _keys_of(
        self, passages: Sequence[Passage], chars: Sequence[int], truncation: Truncation
    ) -> list[bytes | None]:
        keys: list[bytes | None] = []
        turn = Turn()
        for passage, length in zip(passages, chars, strict=True):
            keys.append(self._keys.of(passage, truncation) if length <= MOST_CHARS else None)
            if turn.over:
                await turn.next()
        return keys

    async def _found(self, keys: Sequence[bytes | None]) -> dict[bytes, Result]:
        found = await self._results.find(dict.fromkeys(key for key in keys if key is not None))
        shape = 1, self.contract.width
        return {key: result for key, result in found.items() if result.rows.shape == shape}

    def _count(self, plan: Plan) -> None:
        computed = len(plan.run)
        joined = sum(map(len, plan.joined.values())) + len(plan.own) - computed
        for counter, texts in ((self._hits, len(plan.kept)), (self._misses, computed), (self._joined, joined)):
            if texts:
                counter.inc(texts)

    def _begin(self, plan: Plan, passages: Sequence[Passage], truncation: Truncation, *, small: bool) -> Flight:
        texts = [passages[place] for place in plan.run]
        return self._flights.begin(plan.keys, lambda: self.inner.infer(texts, truncation), self._keep, small=small)

    async def _keep(self, inference: Inference, places: Mapping[bytes, int]) -> None:
        written, turn = self._results.now(), Turn()
        for key, row in places.items():
            self._results.keep(key, _result(inference, row, written))
            if turn.over:
                await turn.next()


async def _gathered(plan: Plan, own: Flight | None) -> Inference:
    """The answer, once everything has landed. Raises what a flight raises."""
    computed = await own.landed() if own is not None else None
    if computed is not None and len(plan.run) == len(plan.own) and not plan.kept and not plan.joined:
        return computed
    timings = computed.timings if computed is not None else Timings()
    began = time.perf_counter()
    joined = {flight: await flight.landed() for flight in plan.joined}
    if joined:  # others' work is what this request waited for
        timings = replace(timings, queue=timings.queue + time.perf_counter() - began)
    if len(plan.kept) + len(plan.own) <= _MERGED_HERE:
        return merged(plan, computed, joined, timings)
    return await asyncio.to_thread(merged, plan, computed, joined, timings)


def _result(inference: Inference, row: int, written: int) -> Result:
    norms = None if inference.norms is None else inference.norms[row : row + 1]
    count = inference.counts[row]
    return Result(inference.rows[row : row + 1], norms, len(count), int(count.truncated), written)


def _chars(passage: Passage) -> int:
    ids = len(passage.ids) if passage.ids is not None else 0
    return len(passage.text) + len(passage.pair or "") + ids
