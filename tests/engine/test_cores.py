"""The cores that lanes of several models share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.engine.cores import Cores, next_turn
from tests.engine.doubles import Bench, text, until


@pytest.mark.parametrize(
    ("urgent", "run", "expected"),
    [
        ([True, True], 0, 0),
        ([False, True], 0, 1),
        ([False, False], 0, 0),
        ([False, True, True], 2, 1),
        ([True, False, True], 3, 1),
        ([True, True], 99, 0),
    ],
)
def test_whose_turn_it_is(urgent: Sequence[bool], run: int, expected: int) -> None:
    assert next_turn(urgent, run) == expected


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(0, 10))
def test_the_oldest_of_its_kind_is_next(urgent: list[bool], run: int) -> None:
    chosen = next_turn(urgent, run)
    assert urgent.index(urgent[chosen]) == chosen


class Lane:
    """A thread that borrows cores, says so, and gives them back on command."""

    def __init__(self, on: Cores, cores: int, urgent: Callable[[], bool] = lambda: False) -> None:
        self.running = threading.Event()
        self.done = threading.Event()
        self._thread = threading.Thread(target=self._borrow, args=(on, cores, urgent), daemon=True)
        self._thread.start()

    def _borrow(self, on: Cores, cores: int, urgent: Callable[[], bool]) -> None:
        with on.lent(cores, urgent):
            self.running.set()
            self.done.wait(30)

    def end(self) -> None:
        self.done.set()
        self._thread.join(30)


def runs(lane: Lane) -> bool:
    return lane.running.wait(10)


def waits(lane: Lane, on: Cores, behind: int) -> bool:
    """Whether the lane is the last of so many that wait."""
    deadline = threading.Event()
    for _ in range(1000):
        if len(on._waiting) == behind:
            return not lane.running.is_set()
        deadline.wait(0.01)
    return False


def test_never_more_than_there_are() -> None:
    cores = Cores(2)
    first, second = Lane(cores, 1), Lane(cores, 1)
    assert runs(first)
    assert runs(second)
    third = Lane(cores, 1)
    assert waits(third, cores, 1)
    first.end()
    assert runs(third)
    second.end()
    third.end()


def test_a_lane_of_several_threads_is_not_passed_for_ever() -> None:
    cores = Cores(2)
    small = Lane(cores, 1)
    assert runs(small)
    large = Lane(cores, 2)
    assert waits(large, cores, 1)
    late = Lane(cores, 1)
    assert waits(late, cores, 2), "a core is free, but the large lane came first"
    small.end()
    assert runs(large)
    large.end()
    assert runs(late)
    late.end()


def test_more_than_all_is_all_and_none_never_waits() -> None:
    cores = Cores(1)
    greedy = Lane(cores, 8)
    assert runs(greedy)
    elsewhere = Lane(cores, 0)
    assert runs(elsewhere)
    elsewhere.end()
    greedy.end()


def test_interactive_work_that_comes_while_its_lane_waits_moves_it_ahead() -> None:
    cores = Cores(1)
    arrived = threading.Event()
    running = Lane(cores, 1)
    assert runs(running)
    bulk = Lane(cores, 1)
    assert waits(bulk, cores, 1)
    other = Lane(cores, 1, arrived.is_set)
    assert waits(other, cores, 2)
    arrived.set()
    running.end()
    assert runs(other)
    assert not bulk.running.is_set()
    other.end()
    assert runs(bulk)
    bulk.end()


def test_an_error_inside_gives_the_cores_back() -> None:
    cores = Cores(1)
    with pytest.raises(ZeroDivisionError), cores.lent(1, lambda: True):
        raise ZeroDivisionError
    lane = Lane(cores, 1)
    assert runs(lane)
    lane.end()


def test_two_models_never_run_more_batches_than_there_are_cores() -> None:
    async def scenario() -> None:
        cores = Cores(2)
        models = [Bench(lanes=2, cores=cores) for _ in range(2)]
        for bench in models:
            bench.model.hold()
        work = [
            asyncio.create_task(bench.submit(text(number, 500), text(100 + number, 500)))
            for bench in models
            for number in range(4)
        ]
        await until(lambda: sum(bench.model.running for bench in models) == 2)
        for bench in models:
            bench.model.release()
        await asyncio.gather(*work)
        assert max(bench.model.most_running for bench in models) <= 2
        for bench in models:
            await asyncio.to_thread(bench.scheduler.close)

    asyncio.run(scenario())
