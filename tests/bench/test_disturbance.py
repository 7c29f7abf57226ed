"""What else ran while we measured."""

from __future__ import annotations

import subprocess
import sys

from sekisho.bench.disturbance import Moment, now, told

START = Moment(clock=100, busy=1000, ours=500, stolen=3, load=0.1)


def after(busy: float, ours: float, stolen: float = 0) -> Moment:
    """Ten seconds later on two cores."""
    return Moment(110, 1000 + busy, 500 + ours, 3 + stolen, 2)


def test_our_own_work_disturbs_nobody() -> None:
    assert told(START, after(busy=20, ours=20), 2) == ""


def test_a_little_of_others_is_always_there() -> None:
    assert told(START, after(busy=10, ours=9.5), 2) == ""


def test_others_are_told_in_percent_of_all_cores() -> None:
    assert told(START, after(busy=20, ours=15), 2) == "other programs used 25 % of the cores"


def test_what_the_host_took_is_told() -> None:
    assert told(START, after(busy=10, ours=10, stolen=2), 2) == "the host took 10 % of the cores away"


def test_a_clock_of_cpu_time_that_is_behind_another_is_no_disturbance() -> None:
    assert told(START, after(busy=10, ours=10.3), 2) == ""


def test_ended_children_are_ours() -> None:
    before = now()
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    spent = now()
    assert spent.ours - before.ours > 0.05
    assert spent.clock > before.clock
    assert spent.busy >= before.busy
