"""The queue: right rows to right requests, whoever leaves, fails or dies meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.contract import Contract, Tokens
from sekisho.engine.batching import Limits
from sekisho.engine.ticket import Result
from sekisho.errors import InternalError, InvalidRequest, NotReady, OutOfMemory, Overloaded
from tests.engine.doubles import CONTRACT, WITH_HEADS, Bench, row_of, text, until, vectors_of, weights_of


@asynccontextmanager
async def bench(
    lanes: int = 1,
    seconds: float = 0.0,
    limits: Limits | None = None,
    max_queue_tokens: int = 10_000_000,
    contract: Contract = CONTRACT,
) -> AsyncIterator[Bench]:
    made = Bench(lanes, seconds, limits, max_queue_tokens, contract)
    try:
        yield made
    finally:
        made.model.release()
        await asyncio.to_thread(made.scheduler.close)


def assert_rows(result: object, texts: Sequence[Tokens]) -> None:
    assert isinstance(result, Result)
    rows, norms = result.outputs
    np.testing.assert_array_equal(rows, [row_of(tokens.ids) for tokens in texts])
    np.testing.assert_array_equal(norms[:, 0], [len(tokens) for tokens in texts])


async def assert_idle(on: Bench) -> None:
    """Nothing queued, by the scheduler's own count and by the metric; and it still works."""
    fresh = text(999_999, 5)
    assert_rows(await on.submit(fresh), [fresh])
    assert on.scheduler.queued_tokens == 0
    assert on.metric("sekisho_queue_tokens") == 0
    assert on.scheduler.healthy


def test_thousands_of_texts_of_random_lengths_come_back_in_their_own_places() -> None:
    async def scenario() -> None:
        rng = random.Random(1)
        requests = [
            [text(1000 * number + index, rng.randint(3, 300)) for index in range(rng.choice([1, 1, 1, 2, 5, 40]))]
            for number in range(500)
        ]
        assert sum(map(len, requests)) > 3000
        async with bench(lanes=3) as on:
            results = await asyncio.gather(*(on.submit(*texts) for texts in requests))
            for texts, result in zip(requests, results, strict=True):
                assert_rows(result, texts)
            assert on.metric("sekisho_tokens_total") == sum(len(t) for texts in requests for t in texts)
            assert on.metric("sekisho_padded_tokens_total") >= on.metric("sekisho_tokens_total")
            await assert_idle(on)

    asyncio.run(scenario())


def assert_heads(result: object, texts: Sequence[Tokens], heads: Sequence[str]) -> None:
    assert isinstance(result, Result)
    assert list(result.heads) == list(heads)
    for name, of in (("sparse", weights_of), ("colbert", vectors_of)):
        for own, tokens in zip(result.heads.get(name, ()), texts, strict=name in heads):
            np.testing.assert_array_equal(own, of(tokens.ids))
            assert own.base is None  # a view would keep the whole batch in memory


def test_each_request_gets_the_heads_it_asked_for_at_its_texts_own_lengths() -> None:
    async def scenario() -> None:
        rng = random.Random(2)
        choices: list[tuple[str, ...]] = [(), (), ("sparse",), ("colbert",), ("colbert", "sparse")]
        requests = [
            ([text(100 * number + place, rng.randint(3, 60)) for place in range(rng.choice([1, 2, 7]))], heads)
            for number in range(200)
            for heads in [rng.choice(choices)]
        ]
        async with bench(lanes=2, contract=WITH_HEADS) as on:
            results = await asyncio.gather(*(on.submit(*texts, heads=heads) for texts, heads in requests))
            for (texts, heads), result in zip(requests, results, strict=True):
                assert_rows(result, texts)
                assert_heads(result, texts, heads)

    asyncio.run(scenario())


def test_a_batch_computes_only_the_heads_that_its_texts_ask_for() -> None:
    async def scenario() -> None:
        async with bench(contract=WITH_HEADS) as on:
            await on.submit(text(1, 5))
            await on.submit(text(2, 5), heads=("colbert",))
            plugs = await on.occupy()
            waiting = [asyncio.create_task(on.submit(text(3, 5), heads=heads)) for heads in ((), ("sparse",), ())]
            await until(lambda: on.scheduler.queued_tokens == 15)
            on.model.release()
            await asyncio.gather(*plugs, *waiting)
            assert on.model.asked == [(), ("colbert",), (), ("sparse",)]

    asyncio.run(scenario())


def test_a_text_that_fails_takes_no_heads_from_its_neighbours() -> None:
    async def scenario() -> None:
        bad, good = text(7, 9), text(8, 11)
        async with bench(contract=WITH_HEADS) as on:
            on.model.raises = lambda batch: ValueError("bad") if bad in batch else None
            plugs = await on.occupy()
            heads = ("sparse", "colbert")
            tasks = [asyncio.create_task(on.submit(one, heads=heads)) for one in (bad, good)]
            await until(lambda: on.scheduler.queued_tokens == 20)
            on.model.release()
            failed, result = await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*plugs)
            assert isinstance(failed, InternalError)
            assert_heads(result, [good], heads)
            gone = asyncio.create_task(on.submit(text(9, 9), heads=heads))
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            await assert_idle(on)

    asyncio.run(scenario())


def test_an_empty_request_does_not_wait() -> None:
    async def scenario() -> None:
        async with bench() as on:
            on.model.hold()
            result = await on.submit()
            assert isinstance(result, Result)
            assert result.outputs == []

    asyncio.run(scenario())


def test_one_at_a_time_nothing_waits() -> None:
    """No timer holds a lone request back to see whether company comes."""

    async def scenario() -> None:
        async with bench(lanes=2) as on:
            waits: list[float] = []
            for number in range(200):
                result = await on.submit(text(number, 8))
                assert isinstance(result, Result)
                waits.append(result.queue_seconds)
            assert sorted(waits)[100] < 0.0015
            assert all(len(batch) == 1 for batch in on.model.batches)

    asyncio.run(scenario())


def test_what_gathers_while_a_batch_runs_is_the_next_batch() -> None:
    async def scenario() -> None:
        async with bench() as on:
            await on.occupy()
            waiting = [asyncio.create_task(on.submit(text(number, 16))) for number in range(20)]
            await until(lambda: on.scheduler.queued_tokens == 320)
            assert on.metric("sekisho_queue_tokens") == 320
            on.model.release()
            await asyncio.gather(*waiting)
            assert [len(batch) for batch in on.model.batches] == [20]
            await assert_idle(on)

    asyncio.run(scenario())


def test_what_has_gathered_runs_without_anything_else_happening() -> None:
    """The lane takes batch after batch on its own: the event loop is blocked throughout."""

    async def scenario() -> None:
        async with bench(limits=Limits(batch_tokens=64)) as on:
            await on.occupy()
            waiting = [asyncio.create_task(on.submit(text(number, 60))) for number in range(5)]
            await until(lambda: on.scheduler.queued_tokens == 300)
            on.model.release()
            deadline = time.monotonic() + 5
            while len(on.model.batches) < 5:
                assert time.monotonic() < deadline
                time.sleep(0.001)  # noqa: ASYNC251 - the point of the test
            await asyncio.gather(*waiting)

    asyncio.run(scenario())


def test_interactive_goes_before_bulk_and_bulk_gets_its_turns() -> None:
    async def scenario() -> None:
        limits = Limits(batch_tokens=64, bulk_every=4)
        async with bench(limits=limits) as on:
            await on.occupy()
            bulk = [text(number, 60) for number in range(10)]
            first = asyncio.create_task(on.submit(*bulk))
            await until(lambda: on.scheduler.queued_tokens == 600)
            short = [text(100 + number, 50) for number in range(12)]
            others = [asyncio.create_task(on.submit(tokens)) for tokens in short]
            await until(lambda: on.scheduler.queued_tokens == 1200)
            on.model.release()
            assert_rows(await first, bulk)
            await asyncio.gather(*others)
            kinds = "".join("b" if batch[0].ids[0] < 100 else "i" for batch in on.model.batches)
            # The plug was one interactive turn.
            assert kinds == "iib" + "iiib" * 3 + "i" + "b" * 6
            await assert_idle(on)

    asyncio.run(scenario())


def test_a_long_oldest_text_is_served_though_short_ones_keep_coming() -> None:
    async def scenario() -> None:
        async with bench(seconds=0.001) as on:
            stop = False

            async def stream(start: int) -> None:
                number = start
                while not stop:
                    await on.submit(text(number, 4))
                    number += 1

            streams = [asyncio.create_task(stream(start)) for start in range(0, 1_000_000, 10_000)]
            await asyncio.sleep(0.02)
            served = await asyncio.wait_for(asyncio.gather(*(on.submit(text(2_000_000 + n, 400)) for n in range(5))), 5)
            stop = True
            await asyncio.gather(*streams)
            assert len(served) == 5

    asyncio.run(scenario())


def test_the_work_of_a_client_that_has_gone_is_never_run() -> None:
    async def scenario() -> None:
        async with bench() as on:
            await on.occupy()
            staying, leaving = [text(1, 20), text(2, 30)], [text(3, 20), text(4, 25)]
            stays = asyncio.create_task(on.submit(*staying))
            leaves = asyncio.create_task(on.submit(*leaving))
            await until(lambda: on.scheduler.queued_tokens == 95)
            leaves.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaves
            on.model.release()
            assert_rows(await stays, staying)
            assert on.model.texts_run == {tuple(tokens.ids) for tokens in staying}
            assert on.metric("sekisho_dropped_total") == 2
            await assert_idle(on)

    asyncio.run(scenario())


def test_when_every_client_has_gone_the_queue_is_empty_and_says_so() -> None:
    async def scenario() -> None:
        async with bench() as on:
            plugs = await on.occupy()
            # More than a window looks at, in both classes.
            bulk = asyncio.create_task(on.submit(*(text(number, 40) for number in range(700))))
            short = [asyncio.create_task(on.submit(text(5000 + number, 4))) for number in range(400)]
            await until(lambda: on.scheduler.queued_tokens == 700 * 40 + 1600)
            for task in (bulk, *short):
                task.cancel()
            await asyncio.gather(bulk, *short, return_exceptions=True)
            on.model.release()
            await asyncio.gather(*plugs)
            await until(lambda: on.scheduler.queued_tokens == 0)
            assert on.metric("sekisho_queue_tokens") == 0
            assert on.metric("sekisho_dropped_total") == 1100
            assert on.model.batches == []
            await assert_idle(on)

    asyncio.run(scenario())


def test_a_full_queue_refuses_the_whole_request_before_any_work() -> None:
    async def scenario() -> None:
        async with bench(max_queue_tokens=100) as on:
            await on.occupy()
            first = asyncio.create_task(on.submit(text(1, 80)))
            await until(lambda: on.scheduler.queued_tokens == 80)
            with pytest.raises(Overloaded) as refused:
                await on.submit(text(2, 10), text(3, 11))
            assert refused.value.status == 429
            assert refused.value.retry_after_seconds == 1
            assert on.scheduler.queued_tokens == 80
            assert on.metric("sekisho_refused_total") == 1
            fits = asyncio.create_task(on.submit(text(4, 20)))
            await until(lambda: on.scheduler.queued_tokens == 100)
            on.model.release()
            assert_rows(await first, [text(1, 80)])
            assert_rows(await fits, [text(4, 20)])
            assert tuple(text(2, 10).ids) not in on.model.texts_run
            await assert_idle(on)

    asyncio.run(scenario())


def test_a_request_longer_than_the_queue_is_let_into_an_empty_one() -> None:
    async def scenario() -> None:
        async with bench(max_queue_tokens=100) as on:
            texts = [text(number, 90) for number in range(5)]
            assert_rows(await on.submit(*texts), texts)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (ValueError("/srv/secret"), InternalError),
        (MemoryError(), OutOfMemory),
        (InvalidRequest("not this one"), InvalidRequest),
    ],
)
def test_a_text_the_model_fails_on_fails_only_its_own_request(raised: Exception, told: type[Exception]) -> None:
    async def scenario() -> None:
        async with bench() as on:
            poison = text(13, 16)
            on.model.raises = lambda batch: raised if any(tokens.ids[0] == 13 for tokens in batch) else None
            await on.occupy()
            good = [text(number, 16) for number in range(100, 110)]
            tasks = [asyncio.create_task(on.submit(tokens)) for tokens in good]
            bad = asyncio.create_task(on.submit(text(12, 16), poison, text(14, 16)))
            await until(lambda: on.scheduler.queued_tokens == 13 * 16)
            on.model.release()
            with pytest.raises(told) as failure:
                await bad
            assert "/srv/secret" not in str(failure.value)
            for tokens, result in zip(good, await asyncio.gather(*tasks), strict=True):
                assert_rows(result, [tokens])
            # One batch of all, then each of them alone; the rest of the failed request may be left out.
            assert len(on.model.batches[0]) == 13
            assert {len(batch) for batch in on.model.batches[1:]} == {1}
            assert on.metric("sekisho_lane_failures_total") == 2
            await assert_idle(on)

    asyncio.run(scenario())


def test_what_is_left_of_a_failed_request_is_not_run() -> None:
    async def scenario() -> None:
        async with bench(limits=Limits(batch_tokens=64)) as on:
            on.model.raises = lambda batch: RuntimeError() if batch[0].ids[0] == 0 else None
            await on.occupy()
            failing = asyncio.create_task(on.submit(*(text(number, 60) for number in range(20))))
            await until(lambda: on.scheduler.queued_tokens == 1200)
            on.model.release()
            with pytest.raises(InternalError):
                await failing
            await assert_idle(on)
            assert tuple(text(19, 60).ids) not in on.model.texts_run
            assert on.metric("sekisho_dropped_total") == 19

    asyncio.run(scenario())


class _Killed(BaseException):
    """What no `except Exception` catches."""


def test_a_lane_that_is_killed_is_replaced_and_its_requests_are_told() -> None:
    async def scenario() -> None:
        async with bench(lanes=2) as on:
            on.model.raises = lambda batch: _Killed() if any(tokens.ids[0] == 13 for tokens in batch) else None
            for _ in range(5):  # more often than there are lanes
                with pytest.raises(InternalError, match="_Killed"):
                    await asyncio.wait_for(on.submit(text(13, 16)), 5)
                good = text(1, 16)
                assert_rows(await asyncio.wait_for(on.submit(good), 5), [good])
            await until(lambda: on.scheduler.healthy)
            assert on.metric("sekisho_lane_failures_total") == 5
            await assert_idle(on)

    asyncio.run(scenario())


def test_closing_tells_the_waiting_and_finishes_the_running() -> None:
    async def scenario() -> None:
        async with bench() as on:
            plugs = await on.occupy()
            waiting = [asyncio.create_task(on.submit(text(number, 16), text(50 + number, 900))) for number in range(5)]
            await until(lambda: on.scheduler.queued_tokens == 5 * 916)
            closing = asyncio.create_task(asyncio.to_thread(on.scheduler.close))
            for task in waiting:
                with pytest.raises(NotReady):
                    await asyncio.wait_for(task, 5)
            await asyncio.sleep(0.05)  # a close that waits for nobody would be done by now
            assert not closing.done()
            on.model.release()
            await closing
            await asyncio.gather(*plugs)
            assert on.model.batches == []
            assert on.scheduler.queued_tokens == 0
            assert on.metric("sekisho_queue_tokens") == 0
            with pytest.raises(NotReady):
                await on.submit(text(1, 16))

    asyncio.run(scenario())


def test_a_killed_lane_stays_away_once_the_scheduler_is_closing() -> None:
    async def scenario() -> None:
        async with bench() as on:
            on.model.raises = lambda _batch: _Killed()
            on.model.hold()
            doomed = asyncio.create_task(on.submit(text(1, 16)))
            await until(lambda: on.model.running == 1)
            closing = asyncio.create_task(asyncio.to_thread(on.scheduler.close))
            await asyncio.sleep(0.01)
            on.model.release()
            with pytest.raises(InternalError):
                await asyncio.wait_for(doomed, 5)
            await asyncio.wait_for(closing, 5)

    asyncio.run(scenario())


Fate = Literal["served", "cancelled", "poisoned"]
fates = st.sampled_from(["served", "served", "cancelled", "poisoned"])
requests_with_fates = st.lists(
    st.tuples(fates, st.lists(st.integers(3, 200), min_size=1, max_size=12)), min_size=1, max_size=20
)


@settings(max_examples=60, deadline=None)
@given(requests_with_fates, st.integers(1, 3), st.sampled_from([64, 256, 1024]))
def test_any_mix_of_departures_and_failures_leaves_the_others_unharmed(
    mix: list[tuple[Fate, list[int]]], lanes: int, batch_tokens: int
) -> None:
    async def scenario() -> None:
        async with bench(lanes, limits=Limits(batch_tokens=batch_tokens)) as on:
            poisoned = {number for number, (fate, _) in enumerate(mix) if fate == "poisoned"}
            on.model.raises = lambda batch: (
                ValueError() if any(tokens.ids[0] // 100 in poisoned for tokens in batch) else None
            )
            await on.occupy()
            requests = [
                [text(100 * number + index, length) for index, length in enumerate(lengths)]
                for number, (_, lengths) in enumerate(mix)
            ]
            tasks = [asyncio.create_task(on.submit(*texts)) for texts in requests]
            tokens = sum(length for _, lengths in mix for length in lengths)
            await until(lambda: on.scheduler.queued_tokens == tokens)
            for task, (fate, _) in zip(tasks, mix, strict=True):
                if fate == "cancelled":
                    task.cancel()
            await asyncio.sleep(0)
            on.model.release()
            results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
            for (fate, _), texts, result in zip(mix, requests, results, strict=True):
                if fate == "served":
                    assert_rows(result, texts)
                elif fate == "poisoned":
                    assert isinstance(result, InternalError)
                else:
                    assert isinstance(result, asyncio.CancelledError)
                    assert not on.model.texts_run & {tuple(t.ids) for t in texts}
            await assert_idle(on)

    asyncio.run(scenario())


def test_clients_that_leave_at_random_moments_harm_nobody() -> None:
    async def scenario() -> None:
        rng = random.Random(2)
        async with bench(lanes=2, seconds=0.0005) as on:

            async def client(number: int) -> bool:
                texts = [text(1000 * number + i, rng.randint(3, 250)) for i in range(rng.choice([1, 2, 30]))]
                await asyncio.sleep(rng.random() * 0.2)
                task = asyncio.create_task(on.submit(*texts))
                if rng.random() < 0.3:
                    await asyncio.sleep(rng.random() * 0.05)
                    task.cancel()
                try:
                    assert_rows(await task, texts)
                except asyncio.CancelledError:
                    return False
                return True

            served = await asyncio.gather(*(client(number) for number in range(400)))
            assert served.count(True) > 250
            await assert_idle(on)

    asyncio.run(scenario())
