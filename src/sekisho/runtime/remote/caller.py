"""One call to a model served elsewhere: which replica, and whether again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from sekisho.observability import UPSTREAM_CALLS, UPSTREAM_OPEN, UPSTREAM_SECONDS, logger
from sekisho.runtime.remote import breaker
from sekisho.runtime.remote.attempt import Attempt, judged
from sekisho.runtime.remote.dialect import Answer, Operation
from sekisho.runtime.remote.endpoint import endpoint, host_of
from sekisho.runtime.remote.failures import error_of, left_alone, limited
from sekisho.runtime.remote.replicas import Pause, Replica, choose, has_fresh
from sekisho.runtime.remote.retries import FAILURES, PATIENCE_SECONDS, RETRIED, backoff
from sekisho.runtime.remote.service import Service
from sekisho.runtime.remote.transport import Transport

log = logger(__name__)

#: However long a service asks to be left in peace, it is asked again after this: clients are told no more either.
_MOST_REST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Called:
    """An answer, how long the call waited for its turn, and how long it then took, in seconds."""

    answer: Answer
    waited: float
    took: float


@dataclass(slots=True)
class _Journey:
    """What a call has been through: replicas it was at, attempts made, how long it may still wait, in seconds."""

    tried: set[int] = field(default_factory=set)
    attempts: int = 0
    patience: float = PATIENCE_SECONDS


class TooMany(Exception):
    """The service takes fewer inputs a call than were sent; `most` of them."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


class Caller:
    """All calls to one model, on one event loop."""

    def __init__(
        self,
        service: Service,
        too_many: Callable[[str], int | None],
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._service = service
        self._too_many = too_many
        self._clock = clock
        self._dice = dice
        self._replicas = [Replica(url) for url in service.urls]
        self._attempts = max(service.retries, len(service.urls) - 1) + 1
        self._slots = asyncio.Semaphore(service.concurrency)
        self._transport = Transport(service.key, service.timeout_seconds, service.concurrency)
        for replica in self._replicas:
            UPSTREAM_OPEN.labels(service.name, host_of(replica.url)).set(0)

    async def call(self, operation: Operation, body: dict[str, Any], count: int) -> Called:
        """Raises TooMany, InvalidRequest, BodyTooLarge and the errors of an upstream."""
        content = orjson.dumps(body)
        journey, began = _Journey(), self._clock()
        waited = None
        while True:
            async with self._slots:
                chosen = choose(self._replicas, self._clock(), journey.tried)
                if not isinstance(chosen, Pause):
                    waited = self._clock() - began if waited is None else waited
                    attempt = await self._attempt(chosen, operation, content, count, journey)
                    if attempt.answer is not None:
                        return Called(attempt.answer, waited, self._clock() - began - waited)
                    pause = self._after(attempt, journey)
                else:
                    pause = self._rest(chosen, journey)
            if pause:
                await asyncio.sleep(pause)

    async def close(self) -> None:
        await self._transport.close()

    async def _attempt(
        self, index: int, operation: Operation, content: bytes, count: int, journey: _Journey
    ) -> Attempt:
        replica = self._replicas[index]
        journey.tried.add(index)
        journey.attempts += 1
        trial, began = replica.breaker.until is not None, self._clock()
        replica.breaker = breaker.began(replica.breaker)
        replica.outstanding += 1
        replica.begun += 1
        attempt: Attempt | None = None
        try:
            reply = await self._transport.post(endpoint(replica.url, operation.path), content)
            attempt = await judged(reply, operation, count, self._too_many)
        finally:
            replica.outstanding -= 1
            self._note(replica, attempt, trial=trial, seconds=self._clock() - began)
        return attempt

    def _note(self, replica: Replica, attempt: Attempt | None, *, trial: bool, seconds: float) -> None:
        """What an attempt says of its replica; None: it was cancelled and says nothing."""
        host, before = host_of(replica.url), replica.breaker.until
        outcome = attempt.outcome if attempt is not None else "cancelled"
        if attempt is None or attempt.outcome == "limited":
            replica.breaker = breaker.abandoned(replica.breaker, trial=trial)
        elif attempt.outcome in FAILURES:
            replica.breaker = breaker.failed(replica.breaker, self._clock(), trial=trial)
        else:
            replica.breaker = breaker.succeeded(replica.breaker)
        if attempt is not None and attempt.outcome == "limited" and attempt.wait:
            replica.rests_until = self._clock() + min(attempt.wait, _MOST_REST_SECONDS)
        UPSTREAM_CALLS.labels(self._service.name, host, outcome).inc()
        UPSTREAM_SECONDS.labels(self._service.name).observe(seconds)
        UPSTREAM_OPEN.labels(self._service.name, host).set(int(replica.breaker.until is not None))
        fields = {"model": self._service.name, "replica": host}
        if attempt is not None and attempt.outcome not in {"ok", "rejected"}:
            log.warning("upstream_call", **fields, outcome=outcome, status=attempt.status, ms=round(seconds * 1000, 1))
        if before != replica.breaker.until:
            wait = round(replica.breaker.wait, 1)
            log.warning("upstream_open" if wait else "upstream_closed", **fields, **({"seconds": wait} if wait else {}))

    def _rest(self, pause: Pause, journey: _Journey) -> float:
        """Seconds to wait until a replica may be called. Raises where that is too long."""
        if pause.why == "open":
            raise left_alone(self._service, pause.seconds)
        if pause.seconds > journey.patience:
            raise limited(self._service, pause.seconds)
        journey.patience -= pause.seconds
        return pause.seconds

    def _after(self, attempt: Attempt, journey: _Journey) -> float:
        """Seconds to wait before the next attempt. Raises where there is none."""
        if attempt.too_many is not None:
            raise TooMany(attempt.too_many)
        if attempt.outcome not in RETRIED or journey.attempts >= self._attempts:
            raise error_of(self._service, attempt)
        if has_fresh(self._replicas, self._clock(), journey.tried):
            return 0.0
        if attempt.outcome == "timeout":  # it may still be at work on this very call
            raise error_of(self._service, attempt)
        wait = max(attempt.wait or 0.0, backoff(journey.attempts, self._dice()))
        if wait > journey.patience:
            raise error_of(self._service, attempt)
        journey.patience -= wait
        return wait
