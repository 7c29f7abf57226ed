"""Several replicas, and one that goes wrong for a while."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import numpy as np
import pytest

from sekisho.runtime.remote.breaker import FAILURES
from tests.upstream.gateway import Gateway, entry, rows_of
from tests.upstream.service import Service, started
from tests.upstream.wire import vector

MakeGateway = Callable[..., Gateway]


@contextmanager
def replicas(count: int, **options: float) -> Iterator[list[Service]]:
    with ExitStack() as stack:
        yield [stack.enter_context(started("openai", **options)) for _ in range(count)]


def urls(services: list[Service]) -> list[str]:
    return [service.url for service in services]


def all_right(answers: list[httpx.Response]) -> bool:
    return all(np.array_equal(rows_of(answer)[0], vector("a")) for answer in answers)


def test_calls_are_spread_evenly(gateway: MakeGateway) -> None:
    with replicas(3, delay=0.01) as services:
        front = gateway(entry("openai", *urls(services), concurrency=6))
        assert all_right(front.embed_all(60, "a"))
        assert [len(service.calls) for service in services] == pytest.approx([20, 20, 20], abs=4)


def test_a_slow_replica_gets_fewer_calls(gateway: MakeGateway) -> None:
    with started("openai", delay=0.15) as slow, started("openai", delay=0.01) as quick:
        front = gateway(entry("openai", slow.url, quick.url, concurrency=8))
        assert all_right(front.embed_all(60, "a"))
        assert len(slow.calls) < len(quick.calls) / 2


@pytest.mark.parametrize("fault", ["500", "drop", "drop_within", "html", "429 30", "503 30"])
def test_the_other_replica_answers_at_once(gateway: MakeGateway, fault: str) -> None:
    with replicas(2) as services:
        front = gateway(entry("openai", *urls(services), retries=0))
        services[0].faults.append(fault)
        began = time.monotonic()
        assert all_right([front.embed("a")])
        assert time.monotonic() - began < 10
        assert [len(service.calls) for service in services] == [1, 1]


def test_one_that_does_not_answer_in_time_costs_one_timeout(gateway: MakeGateway) -> None:
    with replicas(2, stalls=1.0) as services:
        front = gateway(entry("openai", *urls(services), timeout="0.6s"))
        services[0].faults.append("stall")
        assert all_right([front.embed("a")])
        assert [len(service.calls) for service in services] == [1, 1]


def test_one_that_asks_for_patience_is_left_in_peace(gateway: MakeGateway) -> None:
    with replicas(2) as services:
        front = gateway(entry("openai", *urls(services)))
        services[0].faults.append("429 30")
        assert all_right([front.embed("a") for _ in range(8)])
        assert [len(service.calls) for service in services] == [1, 8]


def test_all_of_them_asking_for_patience_is_told_with_the_shortest_wait(gateway: MakeGateway) -> None:
    with replicas(2) as services:
        front = gateway(entry("openai", *urls(services)))
        services[0].faults.append("429 40")
        services[1].faults.append("429 20")
        for _ in range(3):
            answer = front.embed("a")
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "20")
        assert [len(service.calls) for service in services] == [1, 1]


def test_a_short_wait_is_waited_here(gateway: MakeGateway) -> None:
    with replicas(1) as services:
        front = gateway(entry("openai", *urls(services)))
        services[0].faults.append("429 1")
        began = time.monotonic()
        answers = front.embed_all(4, "a")
        assert all_right(answers)
        assert time.monotonic() - began >= 1
        assert len(services[0].calls) <= 8, "the others did not hammer it meanwhile"


def test_after_so_many_failures_nobody_waits_for_it(gateway: MakeGateway) -> None:
    with replicas(1) as services:
        front = gateway(entry("openai", *urls(services), retries=0))
        services[0].faults.extend(["500"] * FAILURES)
        assert [front.embed("a").status_code for _ in range(FAILURES)] == [502] * FAILURES
        shut = front.embed("a")
        assert (shut.status_code, shut.json()["error"]["code"]) == (503, "upstream_unavailable")
        assert 20 <= int(shut.headers["retry-after"]) <= 30
        assert "x-should-retry" not in shut.headers
        assert len(services[0].calls) == FAILURES
        metrics = front.get("/metrics").text
        host = services[0].url.removeprefix("http://")
        assert f'sekisho_upstream_open{{model="far",replica="{host}"}} 1.0' in metrics
        assert f'outcome="failed",replica="{host}"}} {float(FAILURES)}' in metrics
        assert front.get("/readyz").status_code == 200, "what is down elsewhere does not make this server so"
        front.later(31)
        answers = front.embed_all(5, "a")
        assert sorted(answer.status_code for answer in answers) == [200, 503, 503, 503, 503], "one tries for all"
        assert len(services[0].calls) == FAILURES + 1
        assert all_right(front.embed_all(5, "a"))
        assert f'sekisho_upstream_open{{model="far",replica="{host}"}} 0.0' in front.get("/metrics").text


def test_a_trial_that_fails_shuts_it_again(gateway: MakeGateway) -> None:
    with replicas(1) as services:
        front = gateway(entry("openai", *urls(services), retries=0))
        services[0].faults.extend(["drop"] * (FAILURES + 1))
        for _ in range(FAILURES):
            front.embed("a")
        front.later(31)
        assert front.embed("a").status_code == 502
        assert front.embed("a").status_code == 503
        assert len(services[0].calls) == FAILURES + 1


def test_a_trial_that_tells_nothing_leaves_the_next_one_free(gateway: MakeGateway) -> None:
    """It was told to come later, or its client left."""
    with replicas(1, stalls=5.0) as services:
        front = gateway(entry("openai", *urls(services), retries=0))
        services[0].faults.extend(["500"] * FAILURES)
        for _ in range(FAILURES):
            front.embed("a")
        front.later(31)
        services[0].faults.extend(["429", "stall"])
        assert front.embed("a").status_code == 429

        async def impatient() -> None:
            await asyncio.wait_for(front.client.post("/v1/embeddings", json={"model": "far", "input": "a"}), 0.3)

        with pytest.raises(TimeoutError):
            front.runner.run(impatient())
        assert len(services[0].calls) == FAILURES + 2
        assert all_right([front.embed("a")])


def test_with_one_replica_down_for_good_its_breaker_spares_the_calls(gateway: MakeGateway) -> None:
    with replicas(1) as services, started("openai") as gone:
        dead = gone.url
    with replicas(1) as services:
        front = gateway(entry("openai", dead, *urls(services)))
        assert all_right(front.embed_all(100, "a"))
        text = front.get("/metrics").text
        dropped = [line for line in text.splitlines() if 'outcome="dropped"' in line and dead[7:] in line]
        # Those under way when it opened, and perhaps a trial.
        assert FAILURES <= float(dropped[0].split()[-1]) <= FAILURES + 8


def test_no_more_calls_at_once_than_allowed(gateway: MakeGateway) -> None:
    with replicas(2, delay=0.02) as services:
        front = gateway(entry("openai", *urls(services), concurrency=4, batch=1))
        assert all_right(front.embed_all(20, "a"))
        front.embed(*(f"text {i}" for i in range(30)))
        assert sum(service.most_running for service in services) <= 4
        assert Counter(len(call.body["input"]) for service in services for call in service.calls) == {1: 50}


def test_a_small_request_does_not_wait_for_the_whole_of_a_large_one(gateway: MakeGateway) -> None:
    with replicas(1, delay=0.02) as services:
        front = gateway(entry("openai", *urls(services), concurrency=2, batch=1))

        async def both() -> tuple[float, float]:
            began = time.monotonic()

            async def ended(*texts: str) -> float:
                await front.client.post("/v1/embeddings", json={"model": "far", "input": list(texts)})
                return time.monotonic() - began

            large = asyncio.create_task(ended(*(f"text {i}" for i in range(60))))
            await asyncio.sleep(0.05)
            small = await ended("a")
            return await large, small

        large, small = front.runner.run(both())
        assert small < large / 3


def test_too_many_calls_waiting_are_refused_before_any_is_made(
    gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sekisho.engine.remote._MOST_PENDING", 10)
    with replicas(1, delay=0.02) as services:
        front = gateway(entry("openai", *urls(services), concurrency=1, batch=1))
        answers = front.embed_all(3, *(f"text {i}" for i in range(6)))
        assert sorted(answer.status_code for answer in answers) == [200, 429, 429]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert "`concurrency`" in refused.json()["message"]
        assert refused.json()["error"]["code"] == "overloaded"
        assert len(services[0].calls) == 6
        assert front.embed(*(f"text {i}" for i in range(30))).status_code == 200, "alone, one of any size is taken"
