"""Results by key: in this process's memory, and behind it, where several servers share one, in Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from sekisho.engine.memory_store import MemoryStore
from sekisho.engine.redis_store import RedisStore
from sekisho.engine.results import Result, read, write
from sekisho.engine.turns import Turn
from sekisho.observability import CACHE_ERRORS


class ResultStore:
    """One for all models."""

    def __init__(
        self, memory: MemoryStore, redis: RedisStore | None, seconds: int, wall: Callable[[], float] = time.time
    ) -> None:
        """seconds: how old a result may be. wall: Unix time, which servers that share results agree on."""
        self._memory = memory
        self._redis = redis
        self._seconds = seconds
        self._wall = wall

    def now(self) -> int:
        """In Unix seconds."""
        return int(self._wall())

    async def find(self, keys: Iterable[bytes]) -> dict[bytes, Result]:
        """Those that are kept and not too old. Raises nothing."""
        found: dict[bytes, Result] = {}
        absent = []
        oldest, turn = self.now() - self._seconds, Turn()
        for key in keys:
            data = self._memory.get(key)
            result = read(data) if data is not None else None
            if result is not None and result.written >= oldest:
                found[key] = result
            else:
                absent.append(key)
            if turn.over:
                await turn.next()
        if absent and self._redis is not None:
            await self._find_shared(self._redis, absent, oldest, found)
        return found

    def keep(self, key: bytes, result: Result) -> None:
        """Waits for nothing."""
        data = write(result)
        self._memory.put(key, data)
        if self._redis is not None and self._memory.takes(data):
            self._redis.put(key, data)

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.close()

    async def _find_shared(self, redis: RedisStore, keys: list[bytes], oldest: int, found: dict[bytes, Result]) -> None:
        turn = Turn()
        for key, data in (await redis.get(keys)).items():
            result = read(data)
            if result is None:
                CACHE_ERRORS.labels("garbage").inc()
            elif result.written >= oldest:
                found[key] = result
                self._memory.put(key, data)
            if turn.over:
                await turn.next()
