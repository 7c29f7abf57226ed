"""Medians, shares and bars."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.bench.bars import BARS, row
from sekisho.bench.figures import Row, late_growth, lowest_of_peak, meets, percentage_apart, quantile

positive = st.floats(0.001, 1e6)


@given(st.lists(positive, min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[float], share: float) -> None:
    found = quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


def test_the_p99_of_a_hundred_is_not_the_worst() -> None:
    assert quantile(range(1, 101), 0.99) == 99
    assert quantile([7], 0.5) == 7


def test_a_row_counts_by_its_median() -> None:
    found = Row("P1", "a ratio", (0.9, 0.93, 0.99), limit=0.92, at_least=True)
    assert found.figure == 0.93
    assert found.met


@pytest.mark.parametrize(
    ("figure", "at_least", "met"),
    [(1.0, True, True), (0.99, True, False), (1.0, False, True), (1.01, False, False), (math.nan, True, False)],
)
def test_a_bar_is_met_at_its_limit(figure: float, at_least: bool, met: bool) -> None:
    assert meets(figure, 1.0, at_least=at_least) is met


def test_nothing_is_asked_of_a_row_without_a_limit() -> None:
    assert Row("", "beside", (1.0,)).met is None


def test_a_row_is_the_same_after_json() -> None:
    written = row("P3", [6.5, 7.5], ", bulk", note="theirs 70")
    assert Row.from_json(json.loads(json.dumps(written.as_json()))) == written


@given(st.lists(positive, min_size=1).map(sorted))
def test_what_only_rises_never_falls(throughputs: list[float]) -> None:
    assert lowest_of_peak(throughputs) == 1


def test_a_fall_counts_from_the_best_before_it() -> None:
    assert lowest_of_peak([10, 100, 90, 120, 60]) == 0.5


def test_growth_compares_the_last_quarter_with_the_second() -> None:
    steady = [(place / 100, 200.0 if place < 25 else 300.0) for place in range(100)]
    assert late_growth(steady) == 1
    leaking = [(place / 100, 300.0 + place) for place in range(100)]
    assert late_growth(leaking) == pytest.approx(387 / 337, abs=0.01)


def test_growth_of_too_few_samples_is_not_known() -> None:
    assert math.isnan(late_growth([(0.3, 1.0)]))


def test_spread_is_told_in_percent_of_the_median() -> None:
    assert percentage_apart([90, 100, 120]) == 30


def test_there_are_fifteen_bars() -> None:
    assert list(BARS) == [f"P{number}" for number in range(1, 16)]
