"""Results that are being computed right now, and who waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from sekisho.contract import Inference


class Land(Protocol):
    """What is done with a flight's result once those who wait for it have it."""

    def __call__(self, result: Inference, places: Mapping[bytes, int], /) -> Awaitable[None]: ...


class Flight:
    """One computation that several requests may wait for. Every `join` has its `leave`.

    It belongs to none of them: a client that hangs up takes nothing from the others, and the last one to leave ends it.
    places: key → the row of its text. small: it is done as soon as a short request is.
    """

    __slots__ = ("_forget", "_joined", "_outcome", "_task", "_waiters", "places", "small")

    def __init__(self, places: Mapping[bytes, int], *, small: bool, forget: Callable[[Flight], None]) -> None:
        self.places = places
        self.small = small
        self._forget = forget
        self._outcome: Inference | Exception | None = None
        self._task: asyncio.Task[None] | None = None
        self._joined = 0
        self._waiters: list[asyncio.Future[None]] = []

    def begin(self, compute: Callable[[], Awaitable[Inference]], land: Land) -> None:
        self._task = asyncio.create_task(self._fly(compute, land))

    def join(self) -> None:
        self._joined += 1

    def leave(self) -> None:
        self._joined -= 1
        if not self._joined and self._outcome is None and self._task is not None:
            self._forget(self)
            self._task.cancel()

    async def landed(self) -> Inference:
        """Its result, between `join` and `leave`. Raises what the computation raised."""
        if self._outcome is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        if isinstance(self._outcome, Inference):
            return self._outcome
        raise self._outcome or asyncio.CancelledError

    async def _fly(self, compute: Callable[[], Awaitable[Inference]], land: Land) -> None:
        try:
            self._outcome = await compute()
            self._wake()
            # Found under its key from here on; those who come meanwhile find the flight.
            await land(self._outcome, self.places)
        except Exception as error:
            if self._outcome is not None:
                raise
            self._outcome = error
        finally:
            self._forget(self)
            self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()


class Flights:
    """All of one engine's, by the keys that they compute."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, Flight] = {}

    def find(self, key: bytes, *, small: bool) -> Flight | None:
        """The flight that computes this key, if a request of that size should wait for it.

        A short request does not wait for a long one, whose texts all land together: alone it is done sooner.
        """
        flight = self._by_key.get(key)
        return flight if flight is not None and (flight.small or not small) else None

    def begin(
        self, places: Mapping[bytes, int], compute: Callable[[], Awaitable[Inference]], land: Land, *, small: bool
    ) -> Flight:
        """Start to compute these keys, and join."""
        flight = Flight(places, small=small, forget=self._forget)
        for key in places:
            self._by_key.setdefault(key, flight)
        flight.join()
        flight.begin(compute, land)
        return flight

    def _forget(self, flight: Flight) -> None:
        for key in flight.places:
            if self._by_key.get(key) is flight:
                del self._by_key[key]
