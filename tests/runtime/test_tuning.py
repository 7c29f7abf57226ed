"""A model's lanes and the cost of its batches: the decisions, what is kept of them, and one real measurement."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.assemble import assemble, open_catalog, plan
from sekisho.catalog.prepare import Prepared
from sekisho.errors import InternalError
from sekisho.runtime.batch_cost import BatchCost
from sekisho.runtime.free_memory import free_memory
from sekisho.runtime.load import load_model
from sekisho.runtime.machine import Machine, this_machine
from sekisho.runtime.measuring import Budget, measure
from sekisho.runtime.model import Model
from sekisho.runtime.select import Choice, plan_lanes
from sekisho.runtime.tuned import conditions, stored, tuned
from sekisho.runtime.tuning import Round, Split, Tuning, candidates, in_tokens, judge, threads_alone, why
from sekisho.runtime.tuning_cost import Cost, Sample, Size, fit
from sekisho.runtime.tuning_store import read_tuning, write_tuning
from sekisho.settings import Settings

MEAN = "tiny-bert-mean"
BATCHES = [(16,), (64,), (32,) * 4, (32,), (64, *(8,) * 7), (64,) * 4, (128, *(16,) * 15), (128,) * 8, (512,)]
SIZES = [Size.of(lengths, packed=True) for lengths in BATCHES]
CONDITIONS: dict[str, str | int | float | None] = {"processor": "EPYC", "cores": 2, "quota": None}
TUNING = Tuning(2, 1, 0, 9100.0, 14.5, 0.06, 0.0004, settled=True, reason="not beaten by 1 × 2", measured="2026-11-21")
ONE = Choice("onnxruntime", "fp32", 1, 1, "")
SHORT = Budget(usual=0.0, most=60.0)


@given(
    fixed=st.floats(1e-4, 1e-2),
    per_token=st.floats(1e-6, 1e-2),
    place=st.floats(0.01, 1),
    squares=st.floats(0.01, 10),
)
def test_a_cost_that_is_exactly_of_the_form_is_found(
    fixed: float, per_token: float, place: float, squares: float
) -> None:
    true = Cost(fixed, per_token, place * per_token, squares * per_token / 512, 0.0)
    found = fit([Sample(size, true.seconds(size)) for size in SIZES])
    assert found.fixed == pytest.approx(fixed, rel=1e-3, abs=1e-4 * per_token)
    assert found.per_token == pytest.approx(per_token, rel=1e-3)
    assert found.per_place == pytest.approx(place * per_token, rel=1e-2)
    assert found.error < 1e-6


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=len(SIZES)))
def test_whatever_was_measured_no_term_is_negative(seconds: list[float]) -> None:
    found = fit([Sample(size, taken) for size, taken in zip(SIZES, seconds, strict=False)])
    assert min(found.fixed, found.per_place, found.per_square) >= 0
    assert found.per_token > 0


def test_a_cost_needs_a_sample() -> None:
    with pytest.raises(ValueError, match="without a sample"):
        fit([])


def test_a_fit_that_misses_its_samples_is_not_believed() -> None:
    believed = in_tokens(Cost(0.002, 0.0001, 0.00001, 0, error=0.1), packed=True)
    assert believed.fixed == pytest.approx(20)
    assert believed.place == pytest.approx(0.1)
    assert believed.square == 0
    assert in_tokens(Cost(0.002, 0.0001, 0, 0, error=0.5), packed=True) == BatchCost.usual(packed=True)


def test_a_padded_graph_has_one_cost_a_place() -> None:
    """Its tokens are its places, which no sample can tell apart."""
    sizes = [Size.of(lengths, packed=False) for lengths in BATCHES]
    assert all(size.tokens == size.places for size in sizes)
    true = Cost(0.002, 1e-4, 0, 1e-7, 0.0)
    found = fit([Sample(size, true.seconds(size)) for size in sizes])
    assert found.per_place == 0
    assert found.per_token == pytest.approx(1e-4)


@given(st.integers(1, 256))
def test_candidates_are_a_handful_and_the_prior_is_the_first(cores: int) -> None:
    prior = Split(*plan_lanes(cores))
    splits = candidates(cores, prior)
    assert splits[0] == prior
    assert len(set(splits)) == len(splits) <= 4
    assert all(split.lanes * split.threads == cores for split in splits[1:])


@pytest.mark.parametrize(
    ("cores", "others"),
    [
        (1, []),
        (2, [(1, 2)]),
        (4, [(2, 2), (1, 4)]),
        (8, [(4, 2), (1, 8), (8, 1)]),
        (64, [(32, 2), (8, 8), (64, 1)]),
    ],
)
def test_candidates_lie_around_the_prior(cores: int, others: list[tuple[int, int]]) -> None:
    assert candidates(cores, Split(*plan_lanes(cores)))[1:] == [Split(*other) for other in others]


def rounds(throughput: float, wait: float = 1.0, *, spread: float = 0.0, share: float = 0.95) -> list[Round]:
    """Five, `spread` apart."""
    return [Round(throughput + step * spread / 2, wait, share) for step in (-2, -1, 0, 1, 2)]


@pytest.mark.parametrize("step", [rounds(1.0), rounds(1.04), rounds(0.9), rounds(0.99, 0.5), rounds(1.2, 2.5)])
def test_the_prior_stays_unless_another_is_clearly_better(step: list[Round]) -> None:
    assert judge(step) == "not better"


@pytest.mark.parametrize("step", [rounds(1.06), rounds(1.3, 1.9), rounds(1.0, 0.7), rounds(1.1, spread=0.05)])
def test_another_is_better_by_more_tokens_or_by_a_shorter_wait(step: list[Round]) -> None:
    assert judge(step) == "better"


@pytest.mark.parametrize(
    "step",
    [rounds(1.5, spread=0.5), rounds(1.5, share=0.4), rounds(1.5)[:2], []],
    ids=["they differ too much", "others had the cores", "too few", "none"],
)
def test_a_busy_machine_decides_nothing(step: list[Round]) -> None:
    assert judge(step) == "unsure"


def test_one_disturbed_round_of_five_decides_nothing_either_way() -> None:
    assert judge([*rounds(1.2)[:4], Round(0.3, 3.0, 0.5)]) == "better"


def test_where_a_text_alone_runs_elsewhere_only_tokens_a_second_count() -> None:
    assert judge(rounds(1.2, 2.5), wide=True) == "better"
    assert judge(rounds(1.0, 0.5), wide=True) == "not better"


def test_a_text_alone_gets_the_threads_on_which_it_is_soonest_done() -> None:
    one, two, eight = Split(8, 1), Split(4, 2), Split(1, 8)
    assert threads_alone(one, {one: 1.0, two: 0.6, eight: 0.5}) == 8
    assert threads_alone(one, {one: 1.0, two: 0.6, eight: 0.7}) == 2
    assert threads_alone(one, {one: 1.0, two: 0.85, eight: 0.9}) == 0, "a copy of the model for a sixth"
    assert threads_alone(eight, {one: 0.5, eight: 1.0}) == 0, "fewer threads, whatever was disturbed"


def test_the_reason_says_what_was_compared() -> None:
    two, one, four = Split(2, 1), Split(1, 2), Split(4, 1)
    assert why(two, two, {}) == "compared with no other"
    assert why(two, two, {one: "not better", four: "not better"}) == "not beaten by 1 × 2, 4 × 1"
    assert why(two, one, {one: "better"}) == "better than 2 × 1"
    assert why(two, two, {one: "unsure"}) == "the machine was too busy to compare it with 1 × 2"


def test_people_read_the_figures_in_a_line() -> None:
    figures = "9,100 tokens/s a lane, a batch costs 14 tokens; not beaten by 1 × 2"
    assert str(TUNING) == f"measured 21 Nov 2026: 2 × 1, {figures}"
    assert str(replace(TUNING, wide=2)) == f"measured 21 Nov 2026: 2 × 1, 2 threads for what is alone, {figures}"


def test_what_is_written_is_read_under_the_same_conditions_alone(tmp_path: Path) -> None:
    write_tuning(tmp_path, CONDITIONS, TUNING)
    assert read_tuning(tmp_path, CONDITIONS) == TUNING
    assert read_tuning(tmp_path, CONDITIONS | {"processor": "Xeon"}) is None
    assert read_tuning(tmp_path, CONDITIONS | {"quota": 1.5}) is None


def test_two_machines_share_a_directory(tmp_path: Path) -> None:
    other = CONDITIONS | {"cores": 64}
    write_tuning(tmp_path, CONDITIONS, TUNING)
    write_tuning(tmp_path, other, replace(TUNING, lanes=16, threads=4))
    assert read_tuning(tmp_path, CONDITIONS) == TUNING
    assert read_tuning(tmp_path, other) == replace(TUNING, lanes=16, threads=4)


@pytest.mark.parametrize(
    ("found", "instead"),
    [
        ('"version": 3', '"version": 2'),
        ('"lanes": 2', '"lanes": 0'),
        ('"lanes": 2', '"lanes": "2"'),
        ('"lanes": 2', '"lanes": true'),
        ('"lanes": 2,', ""),
        ('"wide": 0', '"wide": -2'),
        ('"fixed_tokens": 14.5', '"fixed_tokens": NaN'),
        ('"place_tokens": 0.06', '"place_tokens": -1.0'),
        ('"measured": "2026-11-21"', '"measured": "yesterday"'),
        ('"cores": 2', '"cores": 4'),
        ("{", "["),
    ],
)
def test_a_file_that_cannot_be_used_is_none(tmp_path: Path, found: str, instead: str) -> None:
    write_tuning(tmp_path, CONDITIONS, TUNING)
    (path,) = tmp_path.iterdir()
    text = path.read_text("utf-8")
    assert found in text
    path.write_text(text.replace(found, instead, 1), "utf-8")
    assert read_tuning(tmp_path, CONDITIONS) is None


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"null", b"[]", b"{}"])
def test_a_file_of_anything_else_is_none(tmp_path: Path, content: bytes) -> None:
    write_tuning(tmp_path, CONDITIONS, TUNING)
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    assert read_tuning(tmp_path, CONDITIONS) is None


def test_many_writers_leave_one_whole_file(tmp_path: Path) -> None:
    each = [replace(TUNING, reason=f"{number}" * 10_000) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        written = [pool.submit(write_tuning, tmp_path, CONDITIONS, tuning) for tuning in each * 4]
        seen = [read_tuning(tmp_path, CONDITIONS) for _ in range(100)]
    assert all(future.exception() is None for future in written)
    assert all(tuning is None or tuning in each for tuning in seen)
    assert read_tuning(tmp_path, CONDITIONS) in each
    assert len(list(tmp_path.iterdir())) == 1


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_tuning(tmp_path, CONDITIONS, replace(TUNING, reason=object()))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.fixture
def prepared(tiny: dict[str, Prepared], tmp_path: Path) -> Prepared:
    """A tiny model in a directory of the test's own."""
    shutil.copytree(tiny[MEAN].directory, tmp_path / "model")
    return replace(tiny[MEAN], directory=tmp_path / "model")


def test_a_model_is_measured_once(prepared: Prepared) -> None:
    machine = this_machine()
    first = tuned(prepared.directory, prepared.contract, ONE, machine, 2)
    assert first.tuning is not None
    assert (first.choice.lanes, first.choice.threads) == (first.tuning.lanes, first.tuning.threads)
    (path,) = prepared.directory.glob("tuning-*.json")
    written = path.stat().st_mtime_ns
    assert tuned(prepared.directory, prepared.contract, ONE, machine, 2) == first
    assert stored(prepared.directory, prepared.contract, ONE, machine, 2) == first
    assert path.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "other",
    [
        {"processor": "another"},
        {"onnxruntime": "0.1"},
    ],
)
def test_another_machine_knows_nothing_of_it(prepared: Prepared, other: dict[str, str]) -> None:
    machine = this_machine()
    write_tuning(prepared.directory, conditions(prepared.contract, ONE, machine, 2), TUNING)
    assert stored(prepared.directory, prepared.contract, ONE, machine, 2).tuning == TUNING
    moved: Machine = replace(machine, **other)  # type: ignore[arg-type]
    assert stored(prepared.directory, prepared.contract, ONE, moved, 2).tuning is None
    assert stored(prepared.directory, prepared.contract, ONE, machine, 4).tuning is None
    assert stored(prepared.directory, prepared.contract, replace(ONE, precision="int8"), machine, 2).tuning is None


def test_what_was_measured_on_a_busy_machine_is_measured_again_when_asked(prepared: Prepared) -> None:
    machine = this_machine()
    unsure = replace(TUNING, settled=False, measured="2001-01-01")
    write_tuning(prepared.directory, conditions(prepared.contract, ONE, machine, 1), unsure)
    assert tuned(prepared.directory, prepared.contract, ONE, machine, 1).tuning == unsure
    again = tuned(prepared.directory, prepared.contract, ONE, machine, 1, again=True).tuning
    assert again is not None
    assert again.measured > unsure.measured


def test_a_model_that_cannot_be_loaded_keeps_the_rule(prepared: Prepared) -> None:
    (prepared.directory / "model.onnx").write_bytes(b"no graph")
    planned = tuned(prepared.directory, prepared.contract, ONE, this_machine(), 2)
    assert planned.tuning is None
    assert planned.choice == ONE


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_that_cannot_be_written_keeps_the_rule(prepared: Prepared) -> None:
    prepared.directory.chmod(0o555)
    try:
        assert tuned(prepared.directory, prepared.contract, ONE, this_machine(), 2).tuning is None
    finally:
        prepared.directory.chmod(0o755)


def test_a_real_measurement_of_every_candidate(prepared: Prepared) -> None:
    loaded: list[Split] = []

    def load(split: Split) -> Model:
        loaded.append(split)
        return load_model(prepared.directory, prepared.contract, replace(ONE, lanes=split.lanes, threads=split.threads))

    splits = candidates(4, Split(4, 1))
    tuning = measure(load, splits, prepared.contract, lambda: True, SHORT)
    assert loaded == splits
    assert Split(tuning.lanes, tuning.threads) in splits
    assert tuning.tokens_per_second > 0
    assert min(tuning.fixed_tokens, tuning.place_tokens, tuning.square_tokens) >= 0
    assert tuning.wide == 0, "nobody said that it may be in memory twice"


def test_a_plan_has_a_wide_one_where_memory_is_to_spare(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = this_machine()

    def wide() -> Choice | None:
        return stored(prepared.directory, prepared.contract, ONE, machine, 8).wide

    assert wide() is None, "nothing was measured"
    measured = replace(TUNING, lanes=8)
    write_tuning(prepared.directory, conditions(prepared.contract, ONE, machine, 8), measured)
    assert wide() is None
    write_tuning(prepared.directory, conditions(prepared.contract, ONE, machine, 8), replace(measured, wide=4))
    assert wide() == replace(ONE, lanes=2, threads=4)
    monkeypatch.setattr("sekisho.runtime.tuned.free_memory", lambda: 1000)
    assert wide() is None


def test_without_room_for_a_second_copy_nothing_is_compared(prepared: Prepared) -> None:
    loaded: list[Split] = []

    def load(split: Split) -> Model:
        loaded.append(split)
        return load_model(prepared.directory, prepared.contract, replace(ONE, lanes=split.lanes, threads=split.threads))

    tuning = measure(load, [Split(2, 1), Split(1, 2)], prepared.contract, lambda: False, SHORT)
    assert loaded == [Split(2, 1)]
    assert (tuning.lanes, tuning.threads, tuning.reason) == (2, 1, "compared with no other")


def test_a_split_that_cannot_be_loaded_is_passed_by(prepared: Prepared) -> None:
    def load(split: Split) -> Model:
        if split.threads > 1:
            raise InternalError("no")
        return load_model(prepared.directory, prepared.contract, replace(ONE, lanes=split.lanes))

    tuning = measure(load, [Split(2, 1), Split(1, 2)], prepared.contract, lambda: True, SHORT)
    assert (tuning.lanes, tuning.threads) == (2, 1)


def test_a_plan_is_what_was_measured(minilm: Prepared, minilm_home: Path, tmp_path: Path) -> None:
    shutil.copytree(minilm_home, tmp_path / "home")
    settings = Settings(home=tmp_path / "home", engine="onnxruntime", threads=2, tune="auto")
    catalog = open_catalog(settings)
    spec = catalog.registry.find("all-minilm-l6-v2")
    prepared = catalog.preparer.find(spec)
    assert prepared is not None
    rule = plan(settings, spec, prepared, "never")
    assert rule.tuning is None
    one = replace(TUNING, lanes=1, threads=2)
    write_tuning(prepared.directory, conditions(prepared.contract, rule.choice, this_machine(), 2), one)
    planned = plan(settings, spec, prepared)
    assert (planned.choice.lanes, planned.choice.threads, planned.tuning) == (1, 2, one)
    assert plan(settings.model_copy(update={"tune": "off"}), spec, prepared) == rule
    assert assemble(settings).catalog.preparer.find(spec) is not None, "it is no part of what the seal vouches for"


def test_free_memory_is_the_least_of_machine_and_container(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 100 kB\nMemAvailable:   64 kB\n")
    assert free_memory(meminfo, tmp_path) == 64 * 1024
    (tmp_path / "memory.current").write_text("50000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 2000\n")
    for most, free in (("max\n", 64 * 1024), ("60000\n", 12_000), ("10\n", 0)):
        (tmp_path / "memory.max").write_text(most)
        assert free_memory(meminfo, tmp_path) == free
    assert free_memory(tmp_path / "none", tmp_path / "none") is None


def test_more_costs_more() -> None:
    cost = Cost(0.002, 1e-4, 1e-5, 1e-7, 0.0)
    sizes = [Size.of([length] * 4, packed=True) for length in (1, 16, 64, 512)]
    assert all(less < more for less, more in pairwise(map(cost.seconds, sizes)))
