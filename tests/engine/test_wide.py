"""A batch that has several cores for itself, and one that has not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np

from sekisho.engine.cores import Cores, Work
from sekisho.engine.ticket import Result
from sekisho.engine.wide import Wide
from sekisho.errors import OutOfMemory
from sekisho.runtime.model import Model
from tests.engine.doubles import Bench, FakeModel, row_of, text, until

_WIDE = "sekisho_wide_batches_total"


@asynccontextmanager
async def bench(wide: Callable[[], Model], cores: Cores | None = None, lanes: int = 2) -> AsyncIterator[Bench]:
    made = Bench(lanes=lanes, cores=cores or Cores(2), wide=wide)
    try:
        yield made
    finally:
        made.model.release()
        await asyncio.to_thread(made.scheduler.close)


async def until_ready(on: Bench) -> None:
    over = on.scheduler._wide
    assert over is not None
    await until(lambda: over.ready)
    await until_rested(on)


async def until_rested(on: Bench) -> None:
    """An answer comes a moment before its lane has given its core back."""
    await until(lambda: on.scheduler._idle == on.model.lanes)


def test_what_is_alone_runs_on_several_cores_and_what_is_not_on_its_lane() -> None:
    async def scenario() -> None:
        over = FakeModel()
        async with bench(lambda: over) as on:
            await until_ready(on)
            result = await on.submit(text(1, 9))
            assert isinstance(result, Result)
            np.testing.assert_array_equal(result.outputs[0], [row_of(text(1, 9).ids)])
            assert (len(over.batches), len(on.model.batches), on.metric(_WIDE)) == (1, 0, 1)

            await until_rested(on)
            over.hold()
            first = asyncio.create_task(on.submit(text(2, 9)))
            await until(lambda: over.running == 1)
            rest = [asyncio.create_task(on.submit(text(number, 9))) for number in (3, 4)]
            await asyncio.sleep(0.05)
            assert on.model.running == 0, "both cores are lent"
            over.release()
            await asyncio.gather(first, *rest)
            assert on.scheduler.queued_tokens == 0

    asyncio.run(scenario())


def test_another_models_batch_keeps_its_core() -> None:
    async def scenario() -> None:
        cores, over = Cores(2), FakeModel()
        async with bench(lambda: over, cores) as on:
            await until_ready(on)
            with cores.lent(1, Work):
                await on.submit(text(1, 9))
            assert (len(over.batches), len(on.model.batches)) == (0, 1)
            await until_rested(on)
            await on.submit(text(2, 9))
            assert len(over.batches) == 1

    asyncio.run(scenario())


def test_a_batch_that_fails_there_is_run_again_on_its_lane_text_by_text() -> None:
    async def scenario() -> None:
        over = FakeModel()
        over.raises = lambda _batch: RuntimeError("no")
        async with bench(lambda: over) as on:
            await until_ready(on)
            result = await on.submit(text(1, 9), text(2, 9))
            assert isinstance(result, Result)
            np.testing.assert_array_equal(result.outputs[0], [row_of(text(number, 9).ids) for number in (1, 2)])
            assert [len(batch) for batch in on.model.batches] == [1, 1]
            await until_rested(on)
            await on.submit(text(3, 9))
            assert len(over.batches) == 2, "its lane was handed back"
            assert len(on.model.batches) == 3

    asyncio.run(scenario())


def test_one_that_cannot_be_made_leaves_the_lanes_as_they_are() -> None:
    def fail() -> Model:
        raise OutOfMemory("none left")

    async def scenario() -> None:
        async with bench(fail) as on:
            await on.submit(text(1, 9))
            assert len(on.model.batches) == 1
            assert on.metric(_WIDE) == 0

    asyncio.run(scenario())


def test_the_first_text_does_not_wait_until_it_is_made() -> None:
    async def scenario() -> None:
        there, over = threading.Event(), FakeModel()

        def slowly() -> Model:
            there.wait(30)
            return over

        async with bench(slowly) as on:
            await on.submit(text(1, 9))
            assert len(on.model.batches) == 1
            there.set()
            await until_ready(on)
            await on.submit(text(2, 9))
            assert len(over.batches) == 1
        assert over.closed

    asyncio.run(scenario())


def test_closing_waits_for_what_is_being_made() -> None:
    there, over = threading.Event(), FakeModel()

    def slowly() -> Model:
        there.wait(30)
        return over

    wide = Wide("closing-wide", slowly, threads=2)
    threading.Timer(0.05, there.set).start()
    wide.close()
    assert over.closed
    assert wide.take() is None
