"""Which models are in memory: loaded on first use, once; unloaded when idle; a failure told to all and tried again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal

from sekisho.catalog.registry import Spec
from sekisho.engine.engine import Engine
from sekisho.errors import InternalError, NotReady, SekishoError
from sekisho.observability import LOAD_SECONDS, LOADED, LOADS, logger

log = logger(__name__)

#: How exact the loop's clock is: what is missing by less has come.
_CLOCK_SECONDS = 0.002

State = Literal["unloaded", "loading", "loaded", "failed"]


@dataclass
class _Slot:
    """What the pool knows of one model.

    users: requests inside `use`. idle_since: when the last one left, by the loop's clock.
    failure: the last error and the moment until which it is the answer.
    """

    loading: asyncio.Task[Engine] | None = None
    engine: Engine | None = None
    users: int = 0
    idle: asyncio.TimerHandle | None = None
    idle_since: float = 0.0
    failure: SekishoError | None = None
    failed_until: float = 0.0
    closing: set[asyncio.Task[None]] = field(default_factory=set)


class _Use(AbstractAsyncContextManager[Engine]):
    """Of a model, by a request. No asynchronous generator, which the event loop keeps a list of."""

    __slots__ = ("_pool", "_spec")

    def __init__(self, pool: Pool, spec: Spec) -> None:
        self._pool = pool
        self._spec = spec

    async def __aenter__(self) -> Engine:
        return await self._pool.enter(self._spec)

    async def __aexit__(self, *_raised: object) -> None:
        self._pool.leave(self._spec)


class Pool:
    """Owns every loaded engine. All of it runs on one event loop; only loading and closing leave it."""

    def __init__(
        self, load: Callable[[Spec], Engine], retry_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`load`: makes an engine; called in a thread, may take minutes, raises SekishoError."""
        self._load = load
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._slots: dict[str, _Slot] = {}
        self._draining = False

    def use(self, spec: Spec) -> AbstractAsyncContextManager[Engine]:
        """The model's engine, loaded if need be and kept while in use. Raises what loading raised, and NotReady."""
        return _Use(self, spec)

    async def enter(self, spec: Spec) -> Engine:
        """The beginning of `use`."""
        slot = self._slots.get(spec.name)
        if slot is None:
            slot = self._slots[spec.name] = _Slot()
        slot.users += 1
        if slot.engine is not None:
            return slot.engine
        try:
            return await self._loaded(spec, slot)
        except BaseException:
            self.leave(spec)
            raise

    def leave(self, spec: Spec) -> None:
        """The end of `use`."""
        slot = self._slots[spec.name]
        slot.users -= 1
        self._rest(spec, slot)

    def state(self, spec: Spec) -> State:
        slot = self._slots.get(spec.name)
        if slot is None:
            return "unloaded"
        if slot.engine is not None:
            return "loaded"
        if slot.loading is not None:
            return "loading"
        return "failed" if slot.failure is not None else "unloaded"

    def engine(self, spec: Spec) -> Engine | None:
        """The engine if it is in memory now; loads nothing."""
        slot = self._slots.get(spec.name)
        return slot.engine if slot is not None else None

    @property
    def draining(self) -> bool:
        return self._draining

    @property
    def healthy(self) -> bool:
        return all(slot.engine.healthy for slot in self._slots.values() if slot.engine is not None)

    def drain(self) -> None:
        """From now on no model is loaded; those in memory still answer."""
        self._draining = True

    async def close(self) -> None:
        """Unload everything and wait for it."""
        self._draining = True
        for name, slot in self._slots.items():
            if slot.idle is not None:
                slot.idle.cancel()
            if slot.loading is not None:
                await asyncio.wait([slot.loading])
            self._unload(name, slot)
        await asyncio.gather(*(task for slot in self._slots.values() for task in slot.closing))

    async def _loaded(self, spec: Spec, slot: _Slot) -> Engine:
        if slot.failure is not None and self._clock() < slot.failed_until:
            raise slot.failure.with_traceback(None)
        if self._draining:
            raise NotReady("The server is shutting down: send the request to another")
        if slot.loading is None:
            slot.loading = asyncio.create_task(self._load_into(spec, slot))
        # Shielded: a client that hangs up must not stop the load that others wait for.
        return await asyncio.shield(slot.loading)

    async def _load_into(self, spec: Spec, slot: _Slot) -> Engine:
        began = time.perf_counter()
        try:
            slot.engine = await asyncio.to_thread(self._load, spec)
        except Exception as error:
            slot.failure = _as_answer(spec, error)
            slot.failed_until = self._clock() + self._retry_seconds
            LOADS.labels(spec.name, "failed").inc()
            log.error("load_failed", model=spec.name, error=slot.failure.message, exc_info=slot.failure is not error)
            raise slot.failure from error
        else:
            slot.failure = None
            LOADS.labels(spec.name, "loaded").inc()
            LOADED.labels(spec.name).set(1)
            LOAD_SECONDS.labels(spec.name).set(time.perf_counter() - began)
            log.info("loaded", model=spec.name, seconds=round(time.perf_counter() - began, 2))
            return slot.engine
        finally:
            slot.loading = None
            self._rest(spec, slot)

    def _rest(self, spec: Spec, slot: _Slot) -> None:
        """Note since when nobody uses a model, and start its idle clock; one that runs looks at the note."""
        if slot.users or slot.engine is None or spec.keep_alive is None:
            return
        loop = asyncio.get_running_loop()
        slot.idle_since = loop.time()
        if slot.idle is None:
            slot.idle = loop.call_later(spec.keep_alive.total_seconds(), self._expire, spec, slot)

    def _expire(self, spec: Spec, slot: _Slot) -> None:
        slot.idle = None
        if slot.users or spec.keep_alive is None:
            return
        loop = asyncio.get_running_loop()
        missing = slot.idle_since + spec.keep_alive.total_seconds() - loop.time()
        if missing > _CLOCK_SECONDS:
            slot.idle = loop.call_later(missing, self._expire, spec, slot)
        else:
            self._unload(spec.name, slot)

    def _unload(self, name: str, slot: _Slot) -> None:
        engine, slot.engine = slot.engine, None
        if engine is None:
            return
        LOADED.labels(name).set(0)
        log.info("unloaded", model=name)
        task = asyncio.create_task(asyncio.to_thread(engine.close))
        slot.closing.add(task)
        task.add_done_callback(slot.closing.discard)


def _as_answer(spec: Spec, error: Exception) -> SekishoError:
    if isinstance(error, SekishoError):
        return error
    return InternalError(
        f"The model {spec.name!r} could not be loaded ({type(error).__name__}); the server's log says why"
    )
