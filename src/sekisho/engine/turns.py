"""Long work on the event loop, in turns."""

from __future__ import annotations

import asyncio
import time

_TURN_SECONDS = 0.002


class Turn:
    """`if turn.over: await turn.next()` in a long loop: between two turns everybody else has theirs."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = time.perf_counter() + _TURN_SECONDS

    @property
    def over(self) -> bool:
        return time.perf_counter() > self._until

    async def next(self) -> None:
        await asyncio.sleep(0)
        self._until = time.perf_counter() + _TURN_SECONDS
