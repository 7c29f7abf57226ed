"""The cores that lanes of several models share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from sekisho.engine.cores import Cores, Work
from tests.engine.doubles import Bench, text, until


class Lane:
    """A thread that borrows cores, says so, and gives them back on command."""

    def __init__(self, on: Cores, cores: int, wanted: Callable[[], Work] | None = None) -> None:
        work = Work()
        self.running = threading.Event()
        self.done = threading.Event()
        self._thread = threading.Thread(target=self._borrow, args=(on, cores, wanted or (lambda: work)), daemon=True)
        self._thread.start()

    def _borrow(self, on: Cores, cores: int, wanted: Callable[[], Work]) -> None:
        with on.lent(cores, wanted):
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
    short, long = Work(3.0), Work()
    running = Lane(cores, 1)
    assert runs(running)
    bulk = Lane(cores, 1)
    assert waits(bulk, cores, 1)
    other = Lane(cores, 1, lambda: short if arrived.is_set() else long)
    assert waits(other, cores, 2)
    arrived.set()
    running.end()
    assert runs(other)
    assert not bulk.running.is_set()
    other.end()
    assert runs(bulk)
    bulk.end()


class Clock:
    """Seconds, as the test would have them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def kept_busy(cores: Cores, clock: Clock, lasting: Sequence[tuple[Work, float]], until: float) -> list[float]:
    """Seconds that works had of one core, each of which always waits with a batch that lasts so long."""
    had = [0.0] * len(lasting)
    lanes = [Lane(cores, 1, lambda work=work: work) for work, _ in lasting]  # type: ignore[misc]
    while clock.now < until:
        place = running_one(lanes)
        clock.now += lasting[place][1]
        had[place] += lasting[place][1]
        ended, lanes[place] = lanes[place], Lane(cores, 1, lambda work=lasting[place][0]: work)  # type: ignore[misc]
        assert waits(lanes[place], cores, len(lanes))
        ended.end()
    for lane in lanes:
        lane.done.set()
    return had


def running_one(lanes: Sequence[Lane]) -> int:
    """Which of them it is."""
    for _ in range(10_000):
        running = [place for place, lane in enumerate(lanes) if lane.running.is_set()]
        if running:
            assert len(running) == 1
            return running[0]
        threading.Event().wait(0.001)
    raise AssertionError("nobody was served")


@pytest.mark.parametrize("lasting", [(0.003, 0.025), (0.025, 0.003), (0.1, 0.1)])
def test_time_is_divided_by_weight_however_long_a_batch_lasts(lasting: tuple[float, float]) -> None:
    clock = Clock()
    short, long = Work(3.0), Work()
    had = kept_busy(Cores(1, clock), clock, [(short, lasting[0]), (long, lasting[1])], 100 * max(lasting))
    assert had[0] == pytest.approx(3 * had[1], rel=0.05)


def test_three_of_one_weight_have_a_third_each() -> None:
    clock = Clock()
    had = kept_busy(Cores(1, clock), clock, [(Work(), 0.002), (Work(), 0.02), (Work(), 0.05)], 3.0)
    assert had == pytest.approx([1.0] * 3, rel=0.1)


def test_who_comes_now_and_then_is_served_next_and_has_saved_nothing_up() -> None:
    clock = Clock()
    cores = Cores(1, clock)
    always, seldom = Work(), Work()
    kept_busy(cores, clock, [(always, 1.0)], 1000.0)
    running = Lane(cores, 1, lambda: always)
    assert runs(running)
    again = Lane(cores, 1, lambda: always)
    assert waits(again, cores, 1)
    come = Lane(cores, 1, lambda: seldom)
    assert waits(come, cores, 2)
    clock.now += 1.0
    running.end()
    assert runs(come), "what it needs is less than its part"
    more = Lane(cores, 1, lambda: seldom)
    assert waits(more, cores, 2)
    clock.now += 5.0
    come.end()
    assert runs(again), "that it was away for a thousand seconds gives it no thousand now"
    again.end()
    assert runs(more)
    more.end()


def test_a_loan_is_counted_for_what_was_done_with_it() -> None:
    clock = Clock()
    cores = Cores(2, clock)
    short, long = Work(3.0), Work()
    with cores.lent(2, lambda: short) as loan:
        loan.spend(long)
        clock.now += 6.0
    assert short.had == 0.0
    assert long.had == 12.0


def test_a_lane_goes_on_while_it_is_its_turn_anyway() -> None:
    clock = Clock()
    cores = Cores(1, clock)
    short, long = Work(3.0), Work()
    with cores.lent(1, lambda: short) as loan:
        other = Lane(cores, 1, lambda: long)
        assert waits(other, cores, 1)
        clock.now += 1.0
        assert not loan.keep(), "the other has had nothing"
    assert runs(other)
    again = Lane(cores, 1, lambda: short)
    assert waits(again, cores, 1)
    clock.now += 1.0
    other.end()
    assert runs(again)
    with_nobody = cores.lent(0, Work)
    assert with_nobody.keep(), "a lane whose device computes elsewhere takes from nobody"
    again.end()


def test_who_had_everything_to_itself_owes_nobody_anything() -> None:
    clock = Clock()
    cores = Cores(1, clock)
    first, second = Work(), Work()
    with cores.lent(1, lambda: first) as loan:
        for _ in range(100):
            clock.now += 1.0
            assert loan.keep()
    assert first.had == 100.0
    had = kept_busy(cores, clock, [(first, 0.01), (second, 0.01)], 102.0)
    assert had == pytest.approx([1.0, 1.0], rel=0.1)


def test_cores_that_came_free_one_by_one_are_not_given_back_at_once() -> None:
    clock = Clock()
    cores = Cores(2, clock)
    both, one = Work(), Work()
    with cores.lent(2, lambda: both) as loan:
        other = Lane(cores, 1, lambda: one)
        assert waits(other, cores, 1)
        clock.now += 0.02
        assert loan.keep()
        clock.now += 0.02
        assert not loan.keep()
    assert runs(other)
    other.end()


def test_interactive_requests_are_about_for_a_while() -> None:
    clock = Clock()
    cores = Cores(1, clock)
    seen = [cores.interactive_about]
    cores.interactive_came()
    for seconds in (0.0, 0.9, 0.2):
        clock.now += seconds
        seen.append(cores.interactive_about)
    assert seen == [False, True, True, False]


def test_an_error_inside_gives_the_cores_back() -> None:
    cores = Cores(1)
    with pytest.raises(ZeroDivisionError), cores.lent(1, Work):
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
