"""Models in memory: loaded once, kept while used, unloaded when idle, and a failure that is told and tried again."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Sequence

import pytest
from prometheus_client import REGISTRY

from sekisho.catalog.registry import Spec
from sekisho.contract import Contract, Inference, Passage, Truncation
from sekisho.engine.engine import Engine
from sekisho.engine.pool import Pool
from sekisho.errors import InternalError, NotReady, SourceUnreachable
from tests.engine.doubles import CONTRACT, until

_names = itertools.count()


class FakeEngine:
    contract: Contract = CONTRACT
    queued_tokens = 0

    def __init__(self) -> None:
        self.healthy = True
        self.closed = threading.Event()
        self.may_close = threading.Event()
        self.may_close.set()

    async def infer(self, passages: Sequence[Passage], truncation: Truncation, heads: Sequence[str] = ()) -> Inference:
        raise NotImplementedError

    def close(self) -> None:
        self.may_close.wait(10)
        self.closed.set()


class Loader:
    """Stands in for loading: counts, waits while held, and raises the errors it was given, in turn."""

    def __init__(self) -> None:
        self.engines: list[FakeEngine] = []
        self.errors: list[Exception] = []
        self.calls = 0
        self._open = threading.Event()
        self._open.set()

    def __call__(self, spec: Spec) -> Engine:
        self.calls += 1
        self._open.wait(10)
        if self.errors:
            raise self.errors.pop(0)
        self.engines.append(FakeEngine())
        return self.engines[-1]

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()


class Clock:
    """Time that only a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def a_spec(keep_alive: str = "always") -> Spec:
    name = f"pooled-{next(_names)}"
    return Spec.model_validate({"name": name, "source": {"path": name}, "keep_alive": keep_alive})


async def use(pool: Pool, spec: Spec, seconds: float = 0.0) -> Engine:
    async with pool.use(spec) as engine:
        await asyncio.sleep(seconds)
        return engine


def metric(name: str, spec: Spec, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"model": spec.name, **labels}) or 0.0


def test_fifty_first_uses_at_once_are_one_load() -> None:
    async def scenario() -> None:
        loader, spec = Loader(), a_spec()
        pool = Pool(loader, 5)
        loader.hold()
        assert pool.state(spec) == "unloaded"
        users = [asyncio.create_task(use(pool, spec)) for _ in range(50)]
        await until(lambda: loader.calls > 0)
        assert pool.state(spec) == "loading"
        await asyncio.sleep(0.02)
        loader.release()
        engines = await asyncio.gather(*users)
        assert loader.calls == 1
        assert set(map(id, engines)) == {id(loader.engines[0])}
        assert pool.state(spec) == "loaded"
        assert metric("sekisho_loads_total", spec, outcome="loaded") == 1
        assert metric("sekisho_model_loaded", spec) == 1
        await pool.close()

    asyncio.run(scenario())


def test_different_models_load_at_the_same_time() -> None:
    async def scenario() -> None:
        loader, specs = Loader(), [a_spec(), a_spec()]
        pool = Pool(loader, 5)
        loader.hold()
        users = [asyncio.create_task(use(pool, spec)) for spec in specs]
        await until(lambda: loader.calls == 2)
        loader.release()
        first, second = await asyncio.gather(*users)
        assert first is not second
        await pool.close()

    asyncio.run(scenario())


def test_a_failure_is_told_to_all_who_wait_remembered_and_then_tried_again() -> None:
    async def scenario() -> None:
        loader, clock, spec = Loader(), Clock(), a_spec()
        pool = Pool(loader, 5, clock)
        loader.errors = [SourceUnreachable("the hub is away")]
        loader.hold()
        waiting = [asyncio.create_task(use(pool, spec)) for _ in range(20)]
        await until(lambda: loader.calls == 1)
        loader.release()
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(error) for error in told if isinstance(error, SourceUnreachable)] == ["the hub is away"] * 20
        assert pool.state(spec) == "failed"
        assert metric("sekisho_loads_total", spec, outcome="failed") == 1

        clock.now = 4.9
        with pytest.raises(SourceUnreachable):
            await use(pool, spec)
        assert loader.calls == 1

        clock.now = 5.1
        assert await use(pool, spec) is loader.engines[0]
        assert loader.calls == 2
        assert pool.state(spec) == "loaded"
        assert metric("sekisho_loads_total", spec, outcome="loaded") == 1
        await pool.close()
        assert pool.state(spec) == "unloaded"

    asyncio.run(scenario())


def test_an_unexpected_failure_is_told_without_its_details() -> None:
    async def scenario() -> None:
        loader, spec = Loader(), a_spec()
        loader.errors = [RuntimeError("/srv/models/secret.bin is odd")]
        pool = Pool(loader, 5)
        with pytest.raises(InternalError) as told:
            await use(pool, spec)
        assert spec.name in told.value.message
        assert "/srv" not in told.value.message
        await pool.close()

    asyncio.run(scenario())


def test_a_failure_while_nobody_waits_any_more_is_remembered() -> None:
    async def scenario() -> None:
        loader, clock, spec = Loader(), Clock(), a_spec()
        pool = Pool(loader, 5, clock)
        loader.errors = [SourceUnreachable("the hub is away")]
        loader.hold()
        user = asyncio.create_task(use(pool, spec))
        await until(lambda: loader.calls == 1)
        user.cancel()
        await asyncio.gather(user, return_exceptions=True)
        loader.release()
        await until(lambda: pool.state(spec) == "failed")
        with pytest.raises(SourceUnreachable):
            await use(pool, spec)
        await pool.close()

    asyncio.run(scenario())


def test_a_waiter_that_is_cancelled_does_not_cancel_the_load() -> None:
    async def scenario() -> None:
        loader, spec = Loader(), a_spec()
        pool = Pool(loader, 5)
        loader.hold()
        first, second, third = (asyncio.create_task(use(pool, spec)) for _ in range(3))
        await until(lambda: loader.calls == 1)
        first.cancel()
        third.cancel()
        await asyncio.gather(first, third, return_exceptions=True)
        assert first.cancelled()
        loader.release()
        assert await second is loader.engines[0]
        assert loader.calls == 1
        await pool.close()

    asyncio.run(scenario())


def test_a_load_that_all_waiters_left_ends_loaded_and_idle() -> None:
    async def scenario() -> None:
        loader, spec = Loader(), a_spec("0.02s")
        pool = Pool(loader, 5)
        loader.hold()
        user = asyncio.create_task(use(pool, spec))
        await until(lambda: loader.calls == 1)
        user.cancel()
        await asyncio.gather(user, return_exceptions=True)
        loader.release()
        await until(lambda: pool.state(spec) == "loaded")
        await until(loader.engines[0].closed.is_set)
        assert pool.state(spec) == "unloaded"
        await pool.close()

    asyncio.run(scenario())


def test_an_idle_model_is_unloaded_after_keep_alive_and_loads_again() -> None:
    async def scenario() -> None:
        loader, spec = Loader(), a_spec("0.1s")
        pool = Pool(loader, 5)
        began = time.monotonic()
        await use(pool, spec)
        assert pool.state(spec) == "loaded"
        await until(lambda: pool.state(spec) == "unloaded")
        assert time.monotonic() - began >= 0.09
        await until(loader.engines[0].closed.is_set)
        assert metric("sekisho_model_loaded", spec) == 0
        assert await use(pool, spec) is loader.engines[1]
        assert loader.calls == 2
        await pool.close()

    asyncio.run(scenario())


def test_each_use_starts_the_idle_clock_again() -> None:
    async def scenario() -> None:
        loader, spec = Loader(), a_spec("0.3s")
        pool = Pool(loader, 5)
        for _ in range(5):
            await use(pool, spec)
            await asyncio.sleep(0.1)
        assert loader.calls == 1
        assert not loader.engines[0].closed.is_set()
        await pool.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("keep_alive", ["0s", "0.02s"])
def test_a_model_in_use_is_never_unloaded(keep_alive: str) -> None:
    async def scenario() -> None:
        loader, spec = Loader(), a_spec(keep_alive)
        pool = Pool(loader, 5)
        async with pool.use(spec) as engine:
            await use(pool, spec)  # a shorter use that ends meanwhile
            await asyncio.sleep(0.06)
            assert pool.engine(spec) is engine
            assert not loader.engines[0].closed.is_set()
        await until(loader.engines[0].closed.is_set)
        assert loader.calls == 1
        await pool.close()

    asyncio.run(scenario())


def test_the_idle_clock_starts_when_the_last_user_leaves() -> None:
    async def scenario() -> None:
        loader, spec = Loader(), a_spec("0.4s")
        pool = Pool(loader, 5)
        async with pool.use(spec):
            await use(pool, spec)
            await asyncio.sleep(0.3)
        await asyncio.sleep(0.2)
        assert pool.state(spec) == "loaded"
        await pool.close()

    asyncio.run(scenario())


def test_keep_alive_zero_unloads_at_once() -> None:
    async def scenario() -> None:
        loader, spec = Loader(), a_spec("0s")
        pool = Pool(loader, 5)
        await use(pool, spec)
        await until(lambda: pool.state(spec) == "unloaded", 1)
        await until(loader.engines[0].closed.is_set, 1)
        await pool.close()

    asyncio.run(scenario())


def test_keep_alive_always_keeps() -> None:
    async def scenario() -> None:
        loader, spec = Loader(), a_spec("always")
        pool = Pool(loader, 5)
        await use(pool, spec)
        await asyncio.sleep(0.05)
        assert pool.state(spec) == "loaded"
        assert not loader.engines[0].closed.is_set()
        await pool.close()
        assert loader.engines[0].closed.is_set()

    asyncio.run(scenario())


def test_a_use_while_the_old_engine_is_still_closing_loads_again() -> None:
    async def scenario() -> None:
        loader, spec = Loader(), a_spec("0s")
        pool = Pool(loader, 5)
        async with pool.use(spec):
            loader.engines[0].may_close.clear()
        await until(lambda: pool.state(spec) == "unloaded")
        async with pool.use(spec) as engine:
            assert engine is loader.engines[1]
            assert not loader.engines[0].closed.is_set()
        loader.engines[0].may_close.set()
        await pool.close()
        assert [engine.closed.is_set() for engine in loader.engines] == [True, True]

    asyncio.run(scenario())


def test_draining_serves_what_is_loaded_and_loads_nothing_more() -> None:
    async def scenario() -> None:
        loader, loaded, absent, arriving = Loader(), a_spec(), a_spec(), a_spec()
        pool = Pool(loader, 5)
        await use(pool, loaded)
        loader.hold()
        waiting = asyncio.create_task(use(pool, arriving))
        await until(lambda: loader.calls == 2)
        pool.drain()
        assert pool.draining
        assert await use(pool, loaded) is loader.engines[0]
        with pytest.raises(NotReady):
            await use(pool, absent)
        loader.release()
        assert await waiting is loader.engines[1]
        assert loader.calls == 2
        await pool.close()

    asyncio.run(scenario())


def test_closing_waits_for_a_load_under_way_and_unloads_everything() -> None:
    async def scenario() -> None:
        loader, loaded, arriving = Loader(), a_spec("10m"), a_spec()
        pool = Pool(loader, 5)
        await use(pool, loaded)
        loader.hold()
        waiting = asyncio.create_task(use(pool, arriving))
        await until(lambda: loader.calls == 2)
        closing = asyncio.create_task(pool.close())
        await asyncio.sleep(0.01)
        assert not closing.done()
        loader.release()
        await closing
        await waiting
        assert [engine.closed.is_set() for engine in loader.engines] == [True, True]
        assert pool.state(loaded) == pool.state(arriving) == "unloaded"

    asyncio.run(scenario())


def test_healthy_is_what_every_loaded_engine_says() -> None:
    async def scenario() -> None:
        loader, spec = Loader(), a_spec()
        pool = Pool(loader, 5)
        said = [pool.healthy]
        await use(pool, spec)
        said.append(pool.healthy)
        loader.engines[0].healthy = False
        said.append(pool.healthy)
        assert said == [True, True, False]
        await pool.close()

    asyncio.run(scenario())


def test_a_model_is_kept_from_its_last_use_on() -> None:
    async def scenario() -> None:
        loader, spec = Loader(), a_spec("0.3s")
        pool = Pool(loader, 5)
        for _ in range(5):
            await use(pool, spec)
            await asyncio.sleep(0.1)  # together longer than it is kept
        assert (pool.state(spec), len(loader.engines)) == ("loaded", 1)
        await asyncio.sleep(0.4)
        assert pool.state(spec) == "unloaded"
        await pool.close()

    asyncio.run(scenario())


def test_an_error_inside_a_use_gives_the_engine_back() -> None:
    async def scenario() -> None:
        loader, spec = Loader(), a_spec("0s")
        pool = Pool(loader, 5)

        async def fail() -> None:
            async with pool.use(spec):
                raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            await fail()
        await until(loader.engines[0].closed.is_set)
        await pool.close()

    asyncio.run(scenario())
