"""A model that another service runs, behind the answers that are kept.

The service counts the tokens of a call, not of a text, and may give a text's row by its neighbours in the call: so what
is kept is the answer to a whole request. What is asked again is neither waited for nor billed again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from sekisho.contract import Inference, Passage, Timings, Truncation
from sekisho.engine.cached import MOST_CHARS, Behind
from sekisho.engine.flights import Flight
from sekisho.engine.remote import RemoteEngine
from sekisho.engine.result_key import Keys
from sekisho.engine.result_store import ResultStore
from sekisho.engine.results import Result


class CachedUpstream(Behind):
    """A result for each request."""

    def __init__(self, name: str, inner: RemoteEngine, results: ResultStore, keys: Keys) -> None:
        super().__init__(name, inner)
        self._remote = inner
        self._results = results
        self._keys = keys

    async def infer(self, passages: Sequence[Passage], truncation: Truncation, heads: Sequence[str] = ()) -> Inference:
        """As the engine's. Until that has learned what its contract must say, nothing is looked up."""
        chars = sum(len(passage.text) + len(passage.pair or "") for passage in passages)
        if heads or chars > MOST_CHARS:
            return await self.inner.infer(passages, truncation, heads)
        key = self._keys.of_all(passages, truncation)
        kept = (await self._results.find([key])).get(key) if self._remote.learned else None
        if kept is not None and len(kept.rows) == len(passages):
            self._hits.inc(len(passages))
            return Inference(kept.rows, kept.norms, kept.tokens, kept.truncated, Timings(), scored=kept.scored)
        flight = self._flights.find(key, small=False)
        if flight is not None:
            self._joined.inc(len(passages))
            with suppress(Exception):  # the other request's; this one gets an answer or an error of its own
                return await _followed(flight)
        else:
            self._misses.inc(len(passages))
        flight = self._flights.begin({key: 0}, lambda: self.inner.infer(passages, truncation), self._keep, small=False)
        try:
            return await flight.landed()
        finally:
            flight.leave()

    async def _keep(self, answer: Inference, places: Mapping[bytes, int]) -> None:
        written = self._results.now()
        result = Result(answer.rows, answer.norms, answer.tokens, answer.truncated, written, answer.scored)
        for key in places:
            self._results.keep(key, result)


async def _followed(flight: Flight) -> Inference:
    """What another request computes. Raises what that raises."""
    began = time.perf_counter()
    flight.join()
    try:
        answer = await flight.landed()
    finally:
        flight.leave()
    return replace(answer, timings=Timings(queue=time.perf_counter() - began))
