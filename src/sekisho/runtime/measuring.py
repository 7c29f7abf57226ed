"""Runs a prepared model for a few seconds, on texts of no meaning, to learn how it is best run on this machine."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from sekisho.contract import Contract, Tokens
from sekisho.errors import SekishoError
from sekisho.runtime.model import Model
from sekisho.runtime.tuning import Round, Split, Tuning, Verdict, in_tokens, is_busy, judge, threads_alone, why
from sekisho.runtime.tuning_cost import Cost, Sample, Size, fit

Open = Callable[[Split], Model]
Lengths = tuple[int, ...]

#: Lengths of the texts of a batch, as servers see them, the cheap ones first: a model too slow for all of them runs the
#: first few. Those of unlike lengths tell what a place of padding costs.
_BATCHES: tuple[Lengths, ...] = (
    (16,), (64,), (32,) * 4, (32,), (32, *(4,) * 15), (64,) * 4, (32,) * 16, (128, *(16,) * 7), (128,) * 8, (512,),
)  # fmt: skip
#: As many shapes are taken as one lane runs in this many seconds, where nobody else is at work, and three at least.
_CYCLE_SECONDS = 0.1
_PASS_SECONDS = 0.4
_LEAST_SHAPES = 3
_LEAST_ROUNDS = 5
#: A text that is run alone, which is one of those few, is run so often in a round.
_ALONE = 2


@dataclass(frozen=True)
class Budget:
    """Seconds: `usual` for each question that is asked, where five rounds take no longer; `most` for all, beyond which
    nothing new is begun. A model is loaded in addition."""

    usual: float = 1.0
    most: float = 15.0


def measure(
    load: Open,
    splits: Sequence[Split],
    contract: Contract,
    room: Callable[[], bool],
    budget: Budget | None = None,
    *,
    wide: bool = False,
) -> Tuning:
    """The best of `splits`, of which the first is kept unless another is clearly better, and what a batch costs on it.

    load: gives the model under a split; two are in memory at once, if `room` says so. Raises what `load` raises for the
    first split; a split that cannot be loaded is passed by.
    wide: whether the model may stay in memory twice, so that a text alone is run under another split than many.
    """
    limits = budget or Budget()
    prior, *others = splits
    champion = _Timed(load(prior), prior, contract)
    until = time.perf_counter() + limits.most
    verdicts: dict[Split, Verdict] = {}
    alone: dict[Split, float] = {}
    try:
        for split in others:
            if not room() or time.perf_counter() + 2 * champion.round_seconds > until:
                break
            with suppress(SekishoError):  # no memory for it, above all
                challenger = _Timed(load(split), split, contract)
                timed = champion, challenger
                verdicts[split], champion = _duel(champion, challenger, limits.usual, until, wide=wide)
                alone |= {each.split: each.least_alone for each in timed}
        rate = champion.rate(limits.usual / 2, until)
        cost = in_tokens(champion.cost(limits.usual, until), packed=contract.packed)
    finally:
        champion.close()
    return Tuning(
        lanes=champion.split.lanes,
        threads=champion.split.threads,
        wide=threads_alone(champion.split, alone) if wide and alone else 0,
        tokens_per_second=rate / champion.split.lanes,
        fixed_tokens=cost.fixed,
        place_tokens=cost.place,
        square_tokens=cost.square,
        settled="unsure" not in verdicts.values() and not is_busy(champion.shares),
        reason=why(prior, champion.split, verdicts),
        measured=datetime.now(UTC).date().isoformat(),
    )


class _Timed:
    """A loaded model under one split, and what of it was timed. Every shape has run once before."""

    def __init__(self, model: Model, split: Split, contract: Contract) -> None:
        self.split = split
        # On one thread the processor's time is taken, which others on the machine do not lengthen.
        self._clock = time.process_time if split.threads == 1 else time.perf_counter
        self._model = model
        self._packed = contract.packed
        self._rates: list[float] = []
        self.shares: list[float] = []
        self.least_alone = float("inf")
        shapes = [*dict.fromkeys(tuple(min(one, contract.max_tokens) for one in batch) for batch in _BATCHES)]
        batches = {shape: _batch(shape, contract) for shape in shapes[:_LEAST_SHAPES]}
        self._run(batches)
        began = self._clock()
        self._run(batches)
        per_token = (self._clock() - began) / sum(map(sum, batches))
        self._lone = [batch for shape, batch in batches.items() if len(shape) == 1]
        self._cycle = batches | _affordable(shapes, per_token, _CYCLE_SECONDS, contract)
        self._pass = batches | _affordable(shapes, per_token, _PASS_SECONDS, contract)
        self.round_seconds = per_token * sum(map(sum, self._cycle)) * 2
        for lane in range(split.lanes):
            self._run(self._pass if lane == 0 else self._cycle, lane)

    def throughput(self) -> float:
        """Tokens a second of all lanes, each of which runs every shape of the cycle, in an order of its own."""
        seconds = [0.0] * self.split.lanes
        shapes = list(self._cycle)

        def lane(number: int) -> None:
            start = number % len(shapes)
            began = time.perf_counter()
            for shape in shapes[start:] + shapes[:start]:
                self._model.run(number, self._cycle[shape])
            seconds[number] = time.perf_counter() - began

        threads = [threading.Thread(target=lane, args=(number,)) for number in range(self.split.lanes)]
        used, began = time.process_time(), time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        cores = self.split.lanes * self.split.threads
        self.shares.append((time.process_time() - used) / (time.perf_counter() - began) / cores)
        self._rates.append(sum(sum(map(sum, shapes)) / each for each in seconds))
        return self._rates[-1]

    def alone(self) -> float:
        """Seconds of short texts one after the other, nothing else running."""
        taken = sum(min(self._seconds(batch, time.perf_counter) for _ in range(_ALONE)) for batch in self._lone)
        self.least_alone = min(self.least_alone, taken)
        return taken

    def rate(self, usual: float, until: float) -> float:
        """Tokens a second of all lanes, in the median of what was seen; without what others took of the cores."""
        if not self._rates:
            _repeat(self.throughput, _LEAST_ROUNDS, usual, until)
        rate = statistics.median(self._rates)
        return rate / statistics.median(self.shares) if is_busy(self.shares) else rate

    def cost(self, usual: float, until: float) -> Cost:
        """Of a batch on one lane, the least of several runs."""
        least = {shape: float("inf") for shape in self._pass}

        def once() -> None:
            for shape, batch in self._pass.items():
                least[shape] = min(least[shape], self._seconds(batch, self._clock))

        _repeat(once, _LEAST_ROUNDS, usual, until)
        # A clock that stands still for a whole run is a coarse one.
        tick = time.get_clock_info("process_time").resolution
        sizes = {shape: Size.of(shape, packed=self._packed) for shape in least}
        return fit([Sample(sizes[shape], max(seconds, tick)) for shape, seconds in least.items()])

    def close(self) -> None:
        self._model.close()

    def _run(self, batches: dict[Lengths, list[Tokens]], lane: int = 0) -> None:
        for batch in batches.values():
            self._model.run(lane, batch)

    def _seconds(self, batch: list[Tokens], clock: Callable[[], float]) -> float:
        began = clock()
        self._model.run(0, batch)
        return clock() - began


def _duel(champion: _Timed, challenger: _Timed, usual: float, until: float, *, wide: bool) -> tuple[Verdict, _Timed]:
    """Rounds in which both take turns; the one that goes first changes. Closes the one that is not kept."""
    rounds: list[Round] = []

    def once() -> None:
        order = (champion, challenger) if len(rounds) % 2 else (challenger, champion)
        speeds, waits = {each: each.throughput() for each in order}, {each: each.alone() for each in order}
        share = max(champion.shares[-1], challenger.shares[-1])
        rounds.append(Round(speeds[challenger] / speeds[champion], waits[challenger] / waits[champion], share))

    kept, left = champion, challenger
    try:
        _repeat(once, _LEAST_ROUNDS, usual, until)
        verdict = judge(rounds, wide=wide)
        if verdict == "better":
            kept, left = challenger, champion
    finally:
        left.close()
    return verdict, kept


def _repeat(once: Callable[[], None] | Callable[[], float], least: int, usual: float, until: float) -> None:
    """At least once; `least` times and for the usual seconds unless time is up before."""
    began, times = time.perf_counter(), 0
    while True:
        once()
        times += 1
        now = time.perf_counter()
        if now > until or (times >= least and now - began > usual):
            return


def _affordable(
    shapes: Sequence[Lengths], per_token: float, seconds: float, contract: Contract
) -> dict[Lengths, list[Tokens]]:
    """The first of them, as many as take so long together."""
    found = {}
    for shape in shapes:
        seconds -= per_token * sum(shape)
        if seconds < 0:
            break
        found[shape] = _batch(shape, contract)
    return found


def _batch(lengths: Lengths, contract: Contract) -> list[Tokens]:
    """Ids drawn from the vocabulary, the same ones each time; none is padding, whose place a graph may not count."""
    drawn = np.random.default_rng(lengths)
    batch = [drawn.integers(0, contract.vocabulary, length) for length in lengths]
    return [Tokens(np.where(ids == contract.pad_id, (ids + 1) % contract.vocabulary, ids).tolist()) for ids in batch]
