"""Results in a Redis that several servers share. It may be slow, full or gone: then they answer as without it."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from sekisho.engine.results import sealed, unsealed
from sekisho.errors import InternalError
from sekisho.observability import CACHE_ERRORS, logger

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logger(__name__)
T = TypeVar("T")
#: Keys that a request asks for, and where it waits for what is there.
_Asked = tuple[Sequence[bytes], asyncio.Future[dict[bytes, bytes]]]

#: One call, connecting included. A request waits for one that reads, nobody for one that writes.
_READ_SECONDS, _WRITE_SECONDS = 0.1, 1.0
_KEYS_A_CALL = 256
_BYTES_A_CALL = 256 * 1024
#: What waits to be written beyond this is not: Redis is slower than we compute.
_BACKLOG_BYTES = 8 * 1024 * 1024
#: How long it is left alone after a failure: this long, twice as long after each that follows, up to the most.
_FIRST_REST, _MOST_REST = 1.0, 30.0
_CLOSE_SECONDS = 1.0


class RedisStore:
    """Key → value. Keys are digests, values sealed; nothing of it raises, and only `get` waits.

    Requests that ask while a call is under way are asked for together in the next one.
    """

    def __init__(self, url: str, seconds: int, clock: Callable[[], float] = time.monotonic) -> None:
        """seconds: how long Redis keeps a value. Raises InternalError for a URL that is none."""
        self._client = _client(url)
        self._seconds = seconds
        self._reading = _Line("read", _READ_SECONDS, clock)
        self._writing = _Line("write", _WRITE_SECONDS, clock)
        self._asked: deque[_Asked] = deque()
        self._unwritten: deque[tuple[bytes, bytes]] = deque()
        self._backlog = 0
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """What Redis has of these; nothing where it cannot be asked now."""
        found: dict[bytes, bytes] = {}
        for start in range(0, len(keys), _KEYS_A_CALL):
            if not self._reading.open:
                self._try_again()
                break
            answer: asyncio.Future[dict[bytes, bytes]] = asyncio.get_running_loop().create_future()
            self._asked.append((keys[start : start + _KEYS_A_CALL], answer))
            if self._reader is None:
                self._reader = asyncio.create_task(self._read())
            found |= await answer
        return found

    def put(self, key: bytes, value: bytes) -> None:
        """To be written soon, or never."""
        if not self._writing.open and not self._writing.rested:
            return
        if self._backlog + len(value) > _BACKLOG_BYTES:
            CACHE_ERRORS.labels("backlog").inc()
            return
        self._unwritten.append((key, value))
        self._backlog += len(value)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Write what waits to be written, if that is quick, and hang up."""
        tasks = [task for task in (self._reader, self._writer) if task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    def _try_again(self) -> None:
        """After a failure no request waits for the next attempt."""
        if self._reading.rested and self._reader is None:
            self._reader = asyncio.create_task(self._probe())

    async def _probe(self) -> None:
        try:
            await self._reading.call(self._client.ping)
        finally:
            self._reader = None

    async def _read(self) -> None:
        taken: list[_Asked] = []
        try:
            while self._asked:
                taken = self._take_asked()
                values = await self._values(list(dict.fromkeys(key for keys, _ in taken for key in keys)))
                for keys, answer in taken:
                    if not answer.done():
                        answer.set_result({key: values[key] for key in keys if key in values})
        finally:
            self._reader = None
            for _, answer in (*taken, *self._asked):
                if not answer.done():
                    answer.set_result({})
            self._asked.clear()

    def _take_asked(self) -> list[_Asked]:
        taken = [self._asked.popleft()]
        count = len(taken[0][0])
        while self._asked and count + len(self._asked[0][0]) <= _KEYS_A_CALL:
            taken.append(self._asked.popleft())
            count += len(taken[-1][0])
        return taken

    async def _values(self, keys: list[bytes]) -> dict[bytes, bytes]:
        if not self._reading.open:
            return {}
        names = [_name(key) for key in keys]
        given = await self._reading.call(lambda: self._client.mget(names))
        values = {}
        for key, value in zip(keys, given or (), strict=False):
            body = unsealed(key, value) if isinstance(value, bytes) else None
            if body is not None:
                values[key] = body
            elif value is not None:
                CACHE_ERRORS.labels("garbage").inc()
        return values

    async def _write(self) -> None:
        try:
            while self._unwritten:
                await self._writing.call(self._write_some)
                if not self._writing.open:
                    self._unwritten.clear()
                    self._backlog = 0
        finally:
            self._writer = None

    async def _write_some(self) -> None:
        size = 0
        async with self._client.pipeline(transaction=False) as pipeline:
            while self._unwritten and size < _BYTES_A_CALL:
                key, value = self._unwritten.popleft()
                self._backlog -= len(value)
                size += len(value)
                pipeline.set(_name(key), sealed(key, value), ex=self._seconds)
            await pipeline.execute()


class _Line:
    """Reading or writing: whether it works, and since when and until when it is left alone."""

    def __init__(self, name: str, seconds: float, clock: Callable[[], float]) -> None:
        self._name = name
        self._seconds = seconds
        self._clock = clock
        self._rest = 0.0
        self._until = 0.0

    @property
    def open(self) -> bool:
        """Whether the last call went well."""
        return not self._rest

    @property
    def rested(self) -> bool:
        """Whether it has been left alone for long enough."""
        return self._clock() >= self._until

    async def call(self, do: Callable[[], Awaitable[T]]) -> T | None:
        """What `do` gives; None where it fails or takes too long."""
        try:
            async with asyncio.timeout(self._seconds):
                result = await do()
        except Exception as error:  # the client's own faults too: none of it may reach a request
            self._failed(error)
            return None
        if self._rest:
            log.info("redis_works", line=self._name)
        self._rest = 0.0
        return result

    def _failed(self, error: Exception) -> None:
        CACHE_ERRORS.labels(_reason(error)).inc()
        if not self._rest:  # once, however long it lasts
            log.warning("redis_fails", line=self._name, reason=_reason(error), error=f"{type(error).__name__}: {error}")
        self._rest = min(2 * self._rest, _MOST_REST) or _FIRST_REST
        self._until = self._clock() + self._rest


def _reason(error: Exception) -> str:
    from redis import exceptions

    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        return "timeout"
    refusals = (exceptions.ResponseError, exceptions.AuthenticationError, exceptions.AuthorizationError)
    # What goes wrong while connecting is the cause of what is raised.
    return "refused" if isinstance(error, refusals) or isinstance(error.__cause__, refusals) else "unreachable"


def _name(key: bytes) -> bytes:
    """What Redis knows a key by: nothing of a text is in it."""
    return b"sekisho:" + base64.urlsafe_b64encode(key)


def _client(url: str) -> Redis:
    """Nothing is connected yet. The URL is in no message: it may hold a password."""
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ModuleNotFoundError:
        raise InternalError(
            "SEKISHO_REDIS_URL is set, and the client for Redis is not installed: `pip install 'sekisho[redis]'`"
        ) from None
    try:
        return Redis.from_url(
            url, socket_timeout=_WRITE_SECONDS, socket_connect_timeout=_WRITE_SECONDS, retry=Retry(NoBackoff(), 0)
        )
    except (ValueError, TypeError):
        raise InternalError(
            "SEKISHO_REDIS_URL is no address of a Redis: write redis://[user:password@]host[:port][/number], "
            "rediss:// for TLS, or unix:///path"
        ) from None
