"""The pure decision of what runs next."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sekisho.engine.batching import Limits, budget, bulk_is_next, choose, reach, yielding_tokens
from sekisho.runtime.batch_cost import BatchCost

lengths_of_jobs = st.lists(st.integers(1, 300), min_size=1, max_size=80)
any_limits = st.builds(
    Limits,
    batch_tokens=st.integers(16, 1024),
    window=st.integers(1, 60),
    cost=st.builds(
        BatchCost, st.floats(0.0, 100.0), st.sampled_from([0.0, 0.06]), st.sampled_from([0.0, 0.0004]), st.booleans()
    ),
    bulk_every=st.integers(2, 6),
)


def _work(chosen: list[int], lengths: list[int], cost: BatchCost) -> float:
    picked = [lengths[i] for i in chosen]
    places = max(picked) * len(picked)
    return (sum(picked) if cost.packed else places) + places * (cost.place + cost.square * max(picked))


@given(lengths_of_jobs, any_limits)
def test_oldest_is_in_and_nobody_twice(lengths: list[int], limits: Limits) -> None:
    chosen = choose(lengths, limits)
    assert 0 in chosen
    assert len(set(chosen)) == len(chosen)


@example([10] * 5, Limits(window=2))
@given(lengths_of_jobs, any_limits)
def test_only_jobs_of_the_window(lengths: list[int], limits: Limits) -> None:
    assert all(0 <= index < min(len(lengths), limits.window) for index in choose(lengths, limits))


@given(lengths_of_jobs, any_limits)
def test_work_stays_in_the_budget_unless_alone(lengths: list[int], limits: Limits) -> None:
    chosen = choose(lengths, limits)
    assert len(chosen) == 1 or _work(chosen, lengths, limits.cost) <= limits.batch_tokens


@given(lengths_of_jobs, any_limits)
def test_a_batch_is_a_run_of_neighbours_in_length(lengths: list[int], limits: Limits) -> None:
    chosen = choose(lengths, limits)
    picked = [lengths[index] for index in chosen]
    assert picked == sorted(picked)
    left_out = [lengths[i] for i in range(min(len(lengths), limits.window)) if i not in set(chosen)]
    assert not [length for length in left_out if picked[0] < length < picked[-1]]


@given(lengths_of_jobs, any_limits)
def test_no_other_run_with_the_oldest_pays_less_for_a_real_token(lengths: list[int], limits: Limits) -> None:
    def price(picked: list[int]) -> float:
        return (limits.cost.fixed / 2 + _work([*range(len(picked))], picked, limits.cost)) / sum(picked)

    window = lengths[: limits.window]
    order = sorted(range(len(window)), key=window.__getitem__)
    oldest = order.index(0)
    runs = [
        [window[i] for i in order[low : high + 1]]
        for low in range(oldest + 1)
        for high in range(oldest, len(order))
        if low == high or _work(order[low : high + 1], window, limits.cost) <= limits.batch_tokens
    ]
    assert price([lengths[i] for i in choose(lengths, limits)]) <= min(map(price, runs)) * (1 + 1e-12)


def test_equal_lengths_fill_the_budget_exactly() -> None:
    assert len(choose([32] * 100, Limits(batch_tokens=1024))) == 32


def test_texts_of_no_token_at_all_are_run() -> None:
    assert 0 in choose([0, 0, 5], Limits())


def test_a_job_over_the_budget_runs_alone() -> None:
    assert choose([5000, 8, 8, 5000], Limits(batch_tokens=1024)) == [0]


def test_a_long_oldest_job_is_not_padded_onto_short_ones() -> None:
    chosen = choose([200, *[10] * 50], Limits())
    assert chosen == [0]


def test_what_a_batch_costs_to_start_decides_how_much_it_may_pad() -> None:
    assert sorted(choose([100, 60, 101, 102], Limits(cost=BatchCost(20)))) == [0, 2, 3]
    assert sorted(choose([100, 60, 101, 102], Limits(cost=BatchCost(1000)))) == [0, 1, 2, 3]


def test_a_packed_graph_takes_unlike_lengths_together() -> None:
    """A place of padding costs it a sixteenth of what it costs a padded one."""
    lengths = [40, 12, 30, 9, 25, 44, 33, 18]
    packed = choose(lengths, Limits(cost=BatchCost.usual(packed=True)))
    assert len(packed) > len(choose(lengths, Limits(cost=BatchCost(16))))
    assert min(lengths[index] for index in packed) < 0.8 * max(lengths[index] for index in packed)


def test_a_packed_graph_keeps_a_long_text_apart_from_many_short_ones() -> None:
    """What attention would make of 60 short texts, each as long as the long one, is more than starting a batch."""
    assert choose([500, *[8] * 60], Limits(cost=BatchCost.usual(packed=True))) == [0]


@pytest.mark.parametrize(
    ("waiting", "idle", "yielding", "expected"),
    [
        (10_000, 0, False, 1024),
        (10_000, 0, True, 192),
        (10_000, 3, False, 1024),
        (1_000, 1, False, 500),
        (1_001, 1, False, 501),
        (1_000, 1, True, 192),
        (200, 1, False, 128),
        (200, 0, False, 200),
        (5, 7, False, 128),
    ],
)
def test_what_idle_lanes_could_run_is_left_for_them(waiting: int, idle: int, yielding: bool, expected: int) -> None:
    assert budget(waiting, idle, Limits(), yielding=yielding) == expected


@pytest.mark.parametrize(
    ("rate", "fixed", "expected"),
    [(7000, 35, 210), (20_000, 35, 600), (1000, 35, 105), (100, 8, 24), (100, 500, 1500)],
)
def test_bulk_keeps_a_lane_for_thirty_milliseconds_or_three_times_its_start(
    rate: float, fixed: float, expected: int
) -> None:
    assert yielding_tokens(rate, BatchCost(fixed)) == expected


@pytest.mark.parametrize(
    ("requests", "bulk", "packed", "expected"),
    [
        ([*range(5)], False, True, 12),
        ([*range(40)], False, True, 30),
        ([*range(240)], False, True, 180),
        ([*range(5000)], False, True, 256),
        ([1] * 20 + [2] * 20, False, True, 40),
        ([1] * 5000, False, True, 256),
        ([*range(40)], True, True, 256),
        ([*range(40)], False, False, 256),
    ],
)
def test_short_requests_are_chosen_among_the_older_ones(
    requests: list[int], bulk: bool, packed: bool, expected: int
) -> None:
    assert reach(requests, Limits(cost=BatchCost.usual(packed=packed)), bulk=bulk) == expected


def test_a_batch_is_never_larger_than_the_machine_allows() -> None:
    assert budget(10_000, 0, Limits(batch_tokens=64), yielding=True) == 64


@pytest.mark.parametrize(
    ("interactive", "bulk", "run", "expected"),
    [
        (0, 0, 0, False),
        (5, 0, 99, False),
        (0, 5, 0, True),
        (5, 5, 0, False),
        (5, 5, 2, False),
        (5, 5, 3, True),
        (5, 5, 99, True),
    ],
)
def test_whose_turn_it_is(interactive: int, bulk: int, run: int, expected: bool) -> None:
    assert bulk_is_next(interactive, bulk, run, Limits(bulk_every=4)) is expected


@given(st.integers(2, 6), st.integers(0, 50))
def test_while_both_wait_one_turn_in_bulk_every_is_bulk(bulk_every: int, interactive_run: int) -> None:
    limits = Limits(bulk_every=bulk_every)
    turns: list[bool] = []
    for _ in range(10 * bulk_every):
        bulk = bulk_is_next(1, 1, interactive_run, limits)
        interactive_run = 0 if bulk else interactive_run + 1
        turns.append(bulk)
    first = turns.index(True)
    assert first < bulk_every
    assert turns[first:] == list(
        itertools.islice(itertools.cycle([True] + [False] * (bulk_every - 1)), len(turns) - first)
    )


job_arrivals = st.lists(st.lists(st.tuples(st.booleans(), st.integers(1, 300)), max_size=12), min_size=1, max_size=25)


@given(job_arrivals, any_limits)
def test_every_job_is_run_after_finitely_many_batches(arrivals: list[list[tuple[bool, int]]], limits: Limits) -> None:
    """However later jobs arrive: at most one batch per job ahead of it in its class, each with its share of turns."""
    queues: dict[bool, list[tuple[int, int]]] = {False: [], True: []}  # (length, latest turn)
    interactive_run = turn = 0
    pending = list(arrivals)
    while pending or queues[False] or queues[True]:
        for bulk, length in pending.pop(0) if pending else []:
            ahead = len(queues[bulk]) + 1
            turns = ahead * limits.bulk_every if bulk else ahead + -(-ahead // (limits.bulk_every - 1)) + 1
            queues[bulk].append((length, turn + turns))
        if not queues[False] and not queues[True]:
            continue
        turn += 1
        bulk = bulk_is_next(len(queues[False]), len(queues[True]), interactive_run, limits)
        interactive_run = 0 if bulk else interactive_run + 1
        queue = queues[bulk]
        window = queue[: limits.window]
        chosen = set(choose([length for length, _ in window], limits))
        assert all(turn <= window[index][1] for index in chosen)
        queue[: len(window)] = [job for index, job in enumerate(window) if index not in chosen]
