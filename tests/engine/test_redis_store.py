"""Results shared through a real Redis, which is killed, paused, filled, flushed and written to by others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from sekisho.engine.memory_store import MemoryStore
from sekisho.engine.redis_store import RedisStore
from sekisho.engine.result_store import ResultStore
from sekisho.engine.results import Result, sealed, write
from sekisho.errors import InternalError
from tests.engine.doubles import until
from tests.redis_server import RedisServer, running

KEYS = [number.to_bytes(24, "big") for number in range(1000)]
DAY = 86_400


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running() as started:
        yield started


class Clock:
    """Seconds that pass as a test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def store_at(url: str, clock: Clock | None = None) -> AsyncIterator[RedisStore]:
    store = RedisStore(url, DAY, clock or Clock())
    try:
        yield store
    finally:
        await store.close()


async def written(store: RedisStore) -> None:
    """All that was put has been written, or has not been and never will be."""
    await until(lambda: store._writer is None)


async def idle(store: RedisStore) -> None:
    await until(lambda: store._reader is None)


def errors(reason: str) -> float:
    return REGISTRY.get_sample_value("sekisho_cache_errors_total", {"reason": reason}) or 0.0


def test_what_one_server_puts_another_gets(server: RedisServer) -> None:
    async def scenario() -> None:
        async with store_at(server.url) as one, store_at(server.url) as other:
            values = {key: bytes([index % 256]) * 1500 for index, key in enumerate(KEYS)}
            for key, value in values.items():
                one.put(key, value)
            await written(one)
            assert await other.get(KEYS) == values
            assert await other.get([b"n" * 24]) == {}
            assert await other.get([]) == {}

    asyncio.run(scenario())


def test_a_key_in_redis_is_a_digest_and_goes_after_its_time(server: RedisServer) -> None:
    async def scenario() -> None:
        async with store_at(server.url) as store:
            store.put(KEYS[1], b"value")
            await written(store)

    asyncio.run(scenario())
    assert server.names() == [b"sekisho:" + b"A" * 31 + b"B"]
    assert DAY - 10 < server.do("TTL", server.names()[0]) <= DAY


def test_requests_that_ask_together_are_asked_for_together_and_each_gets_its_own(server: RedisServer) -> None:
    async def scenario() -> None:
        async with store_at(server.url) as store:
            for key in KEYS[:300]:
                store.put(key, key)
            await written(store)
            server.do("CONFIG", "RESETSTAT")
            wanted = [KEYS[start : start + 3] for start in range(0, 297)]
            answers = await asyncio.gather(*(store.get(keys) for keys in wanted))
            assert answers == [{key: key for key in keys} for keys in wanted]
            calls = server.do("INFO", "commandstats")["cmdstat_mget"]["calls"]
            assert calls <= 6

    asyncio.run(scenario())


def test_a_request_that_leaves_takes_nothing_from_the_others(server: RedisServer) -> None:
    async def scenario() -> None:
        async with store_at(server.url) as store:
            store.put(KEYS[0], b"value")
            await written(store)
            tasks = [asyncio.create_task(store.get(KEYS[:1])) for _ in range(3)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            assert await asyncio.gather(*tasks[1:]) == [{KEYS[0]: b"value"}] * 2

    asyncio.run(scenario())


def test_values_that_are_not_ours_are_no_values(server: RedisServer) -> None:
    async def scenario() -> None:
        async with store_at(server.url) as store:
            for key in KEYS[:6]:
                store.put(key, b"value")
            await written(store)
            names = server.names()
            swapped = server.do("GET", names[1])
            for name, garbage in zip(names, [b"", b"garbage", swapped, None, sealed(KEYS[4], b"x")], strict=False):
                if garbage is not None:
                    server.do("SET", name, garbage)
            server.do("DEL", names[3])
            server.do("RPUSH", names[3], "a list")
            before = errors("garbage")
            found = await store.get(KEYS[:6])
            assert found == {KEYS[4]: b"x", KEYS[5]: b"value"}
            assert errors("garbage") - before == 3  # of a list MGET says that there is nothing

    asyncio.run(scenario())


def kept(number: int, written_at: int) -> Result:
    return Result(np.full((1, 4), number, np.float32), np.ones(1, np.float32), number, 0, written_at)


def test_two_servers_share_results_and_each_has_a_copy_at_hand(server: RedisServer) -> None:
    async def scenario() -> None:
        shared = [RedisStore(server.url, DAY) for _ in range(2)]
        one, other = (ResultStore(MemoryStore(1 << 20), each, DAY, lambda: 1e9) for each in shared)
        for number, key in enumerate(KEYS[:50]):
            one.keep(key, kept(number, int(1e9)))
        one.keep(KEYS[50], kept(50, int(1e9) - DAY - 1))
        await written(shared[0])
        shared[0].put(KEYS[51], b"sealed, and no result")
        await written(shared[0])
        before = errors("garbage")
        found = await other.find(KEYS[:60])
        assert {key: write(result) for key, result in found.items()} == {
            key: write(kept(number, int(1e9))) for number, key in enumerate(KEYS[:50])
        }
        assert errors("garbage") == before + 1
        server.do("FLUSHALL")
        assert list(await other.find(KEYS[:60])) == KEYS[:50]
        await one.close()
        await other.close()

    asyncio.run(scenario())


def test_a_redis_that_is_killed_is_done_without_and_comes_back(server: RedisServer) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with store_at(server.url, clock) as store:
            store.put(KEYS[0], b"value")
            await written(store)
            assert await store.get(KEYS[:1]) == {KEYS[0]: b"value"}
            server.kill()
            before = errors("unreachable")
            with capture_logs() as logs:
                for _ in range(50):
                    assert await store.get(KEYS[:300]) == {}
                    store.put(KEYS[1], b"other")
                    await written(store)
            assert [entry["event"] for entry in logs] == ["redis_fails"] * 2
            assert {entry["line"] for entry in logs} == {"read", "write"}
            assert errors("unreachable") - before == 2

            clock.now = 1.5
            assert await store.get(KEYS[:1]) == {}  # it is tried again, which this request does not wait for
            await idle(store)
            assert errors("unreachable") - before == 3
            server.start()
            clock.now = 2.0
            assert await store.get(KEYS[:1]) == {}
            await idle(store)
            clock.now = 4.0
            with capture_logs() as logs:
                assert await store.get(KEYS[:1]) == {}
                await idle(store)
                store.put(KEYS[1], b"other")
                await written(store)
            assert [entry["event"] for entry in logs] == ["redis_works"] * 2
            assert await store.get(KEYS[:2]) == {KEYS[1]: b"other"}

    asyncio.run(scenario())


def test_a_redis_that_says_nothing_is_waited_for_once(server: RedisServer) -> None:
    """Paused in the midst of calls; what it says when it goes on is taken for nobody's answer."""

    async def scenario() -> None:
        clock = Clock()
        async with store_at(server.url, clock) as store:
            for key in KEYS[:20]:
                store.put(key, key)
            await written(store)
            server.pause()
            before, began = errors("timeout"), time.monotonic()
            try:
                answers = await asyncio.gather(*(store.get(KEYS[index : index + 1]) for index in range(20)))
                assert answers == [{}] * 20
                assert await store.get(KEYS) == {}
            finally:
                server.go_on()
            assert errors("timeout") - before == 1
            assert time.monotonic() - began < 10
            clock.now = 1.5
            assert await store.get(KEYS[:1]) == {}
            await idle(store)
            for index in (7, 3, 19):
                assert await store.get(KEYS[index : index + 1]) == {KEYS[index]: KEYS[index]}

    asyncio.run(scenario())


def test_a_full_redis_still_gives_what_it_has() -> None:
    with running(maxmemory="3mb", **{"maxmemory-policy": "noeviction"}) as server:

        async def scenario() -> None:
            async with store_at(server.url) as store:
                store.put(KEYS[0], b"value")
                await written(store)
                before = errors("refused")
                with capture_logs() as logs:
                    for key in KEYS[1:]:
                        store.put(key, b"x" * 7000)
                    await written(store)
                assert [(entry["line"], entry["reason"]) for entry in logs] == [("write", "refused")]
                assert errors("refused") == before + 1
                assert await store.get(KEYS[:1]) == {KEYS[0]: b"value"}

        asyncio.run(scenario())


def test_a_wrong_password_is_told_in_the_log_and_to_no_request() -> None:
    with running(requirepass="right") as server:
        url = server.url.replace("right", "wrong-and-secret")

        async def scenario() -> None:
            before = errors("refused")
            with capture_logs() as logs:
                async with store_at(url) as store:
                    assert await store.get(KEYS[:1]) == {}
            assert errors("refused") == before + 1
            assert "redis_fails" in str(logs)
            assert "secret" not in str(logs)
            async with store_at(server.url) as store:
                store.put(KEYS[0], b"value")
                await written(store)
                assert await store.get(KEYS[:1]) == {KEYS[0]: b"value"}

        asyncio.run(scenario())


def test_a_port_where_nobody_listens() -> None:
    async def scenario() -> None:
        before = errors("unreachable")
        async with store_at("redis://127.0.0.1:9/0") as store:
            assert await store.get(KEYS) == {}
            store.put(KEYS[0], b"value")
            await written(store)
        assert errors("unreachable") == before + 2

    asyncio.run(scenario())


def test_what_redis_cannot_take_in_time_is_not_waited_for(server: RedisServer) -> None:
    async def scenario() -> None:
        async with store_at(server.url) as store:
            before = errors("backlog")
            for key in KEYS[:20]:
                store.put(key, b"x" * (1 << 20))
            assert errors("backlog") - before == 12
            await written(store)
            assert len(server.names()) == 8

    asyncio.run(scenario())


def test_closing_writes_what_waits_and_does_not_wait_for_a_silent_redis(server: RedisServer) -> None:
    async def scenario() -> None:
        store = RedisStore(server.url, DAY)
        store.put(KEYS[0], b"value")
        await store.close()
        assert len(server.names()) == 1
        silent = RedisStore(server.url, DAY)
        server.pause()
        try:
            silent.put(KEYS[1], b"value")
            asked = asyncio.create_task(silent.get(KEYS[:1]))
            await asyncio.sleep(0)
            await silent.close()
            assert await asked == {}
        finally:
            server.go_on()

    asyncio.run(scenario())


@pytest.mark.parametrize("url", ["secret", "http://:secret@host", "redis://:secret@host:port", "", "//secret"])
def test_what_is_no_url_is_told_without_it(url: str) -> None:
    with pytest.raises(InternalError, match="write redis://") as caught:
        RedisStore(url, DAY)
    assert "secret" not in str(caught.value)
