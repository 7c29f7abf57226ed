"""Memory by the work done, the cost of a token, and the stages of a request."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.bench.lasting import Memory, by_work, memory_rows
from sekisho.bench.limit import fp32_peak, multiply_adds
from sekisho.bench.plan import Load
from sekisho.bench.stages import STAGES, medians
from sekisho.bench.stand import QUICK, Sizes
from sekisho.contract import CONTRACT_FILE, Contract, Tokens
from tests.goldens_io import MINILM


def load(*answered: float, stages: dict[str, list[float]] | None = None) -> Load:
    return Load(0.0, 10.0, [(number, at, 1000.0) for number, at in enumerate(answered)], 0.1, {}, stages or {})


def test_figures_are_placed_by_the_share_of_texts_answered() -> None:
    seen = [(0.5, 100.0), (1.5, 110.0), (2.5, 120.0), (3.5, 130.0), (9.0, 140.0)]
    found = by_work(seen, [(load(1, 2, 3, 4), 1), (load(3), 4)])
    assert found == [(1 / 8, 110.0), (2 / 8, 120.0), (7 / 8, 130.0)]


def test_memory_is_judged_by_its_most_and_by_its_growth() -> None:
    flat = Memory(100, 200.0, [(place / 10, 300.0) for place in range(10)])
    assert [row.figure for row in memory_rows(flat)] == [300, 1]
    assert [row.met for row in memory_rows(flat)] == [True, True]
    leaking = Memory(100, 200.0, [(place / 10, 300.0 + 30 * place) for place in range(10)])
    assert [row.met for row in memory_rows(leaking)] == [False, False]


def test_growth_that_nobody_saw_is_not_judged() -> None:
    assert len(memory_rows(Memory(5, 200.0, []))) == 1


def test_a_token_takes_a_multiply_add_a_weight(minilm_home: Path) -> None:
    (contract,) = minilm_home.glob(f"models/{MINILM}/*/{CONTRACT_FILE}")
    encoded = [Tokens([0] * 10), Tokens([0] * 30)]
    found = multiply_adds(contract.parent, Contract.read(contract.parent), encoded)
    layer = 4 * 384**2 + 2 * 384 * 1536
    assert found == pytest.approx(6 * layer + 12 * 384 * (10**2 + 30**2) / 40)


def test_the_machine_multiplies() -> None:
    assert fp32_peak() > 1e8


def test_stages_add_up_to_the_time_a_request_took() -> None:
    stages = {"tokenize": [1.0, 1.0], "queue": [2.0, 2.0], "run": [10.0, 10.0], "total": [15.0, 15.0]}
    assert medians(load(1, 2, stages=stages)) == dict(zip(STAGES, (1, 2, 10, 2, 985), strict=True))


def test_a_slow_model_is_sent_fewer_texts_of_the_same_kinds() -> None:
    full = Sizes()
    assert full.at(100_000) == full
    slow = full.at(300)
    assert slow.rounds == full.rounds
    assert slow.concurrencies == full.concurrencies
    assert 4 * 64 <= slow.bulk < full.bulk
    assert QUICK.at(1) == QUICK
