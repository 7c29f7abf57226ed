"""How many batches of a model run at once, on how many threads each: candidates, and which of them is kept; pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import log2
from typing import Literal

from sekisho.runtime.batch_cost import BatchCost
from sekisho.runtime.tuning_cost import Cost

#: Candidates beside today's split. Each is a model to load and seconds to measure.
_OTHERS = 3
#: Another split has to be this much faster, or answer a text alone in so much less of the time without being slower.
_FASTER = 1.05
_SOONER = 0.8
#: What is won in texts a second is not worth a text alone taking longer than this many times as long.
_LATER = 2.0
#: Rounds whose middle half lies further apart than this, relative to their median, say nothing.
_SPREAD = 0.2
_LEAST_ROUNDS = 3
#: A model with every lane at work gets less of its cores than this where others are at work too; it leaves some of it
#: unused by itself where several threads share a batch, or under a quota that is no whole number.
_SHARE = 0.6
#: A cost that is off by more in the median is not believed.
_ROUGH = 0.25

Verdict = Literal["better", "not better", "unsure"]


@dataclass(frozen=True)
class Split:
    """lanes: batches run at once; threads: how many each of them uses."""

    lanes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.lanes} × {self.threads}"


@dataclass(frozen=True)
class Round:
    """A challenger beside the champion, measured one right after the other.

    throughput: its tokens a second with all lanes busy ÷ the champion's.
    wait: its time for one text with every other lane idle ÷ the champion's.
    share: processor time ÷ (time × cores) with all lanes busy, of whichever had more of it.
    """

    throughput: float
    wait: float
    share: float


@dataclass(frozen=True)
class Tuning:
    """What was measured of a model on a machine, and what follows.

    wide: threads of a batch that has as many cores for itself; 0: a lane's own are as good.
    tokens_per_second: of one lane while all are at work; where the machine was busy, by the processor time it got.
    fixed_tokens, place_tokens, square_tokens: what a batch costs beside its tokens (`BatchCost`).
    settled: False where the machine was too busy to tell.
    reason: why this split, in words; measured: the day, as ISO 8601 has it.
    """

    lanes: int
    threads: int
    wide: int
    tokens_per_second: float
    fixed_tokens: float
    place_tokens: float
    square_tokens: float
    settled: bool
    reason: str
    measured: str

    def cost(self, *, packed: bool) -> BatchCost:
        """packed: as the graph is that was measured."""
        return BatchCost(self.fixed_tokens, self.place_tokens, self.square_tokens, packed)

    def __str__(self) -> str:
        day = date.fromisoformat(self.measured)
        wide = f", {self.wide} threads for what is alone" if self.wide else ""
        return (
            f"measured {day.day} {day:%b %Y}: {Split(self.lanes, self.threads)}{wide}, "
            f"{self.tokens_per_second:,.0f} tokens/s a lane, a batch costs {self.fixed_tokens:.0f} tokens; "
            f"{self.reason}"
        )


def candidates(cores: int, prior: Split) -> list[Split]:
    """`prior` first, then the other ways to split the cores evenly, those of similar lanes first; a handful in all."""
    even = [Split(cores // threads, threads) for threads in range(1, cores + 1) if cores % threads == 0]
    others = sorted(
        (split for split in even if split != prior), key=lambda split: abs(log2(split.threads / prior.threads))
    )
    return [prior, *others[:_OTHERS]]


def judge(rounds: Sequence[Round], *, wide: bool = False) -> Verdict:
    """Whether the challenger is better by more than the rounds differ among themselves.

    Better: a twentieth more tokens a second, unless a text alone takes twice as long; or as many, and a text alone
    comes a fifth sooner. What is won has to be there in three rounds of four.

    wide: a text alone will be run on whichever split is best for it, so the first alone counts.
    """
    if len(rounds) < _LEAST_ROUNDS:
        return "unsure"
    low, middle, high = _quartiles(rounds, lambda each: each.throughput)
    if is_busy([each.share for each in rounds]) or high - low > _SPREAD * middle:
        return "unsure"
    _, wait, longest = _quartiles(rounds, lambda each: each.wait)
    faster = low >= _FASTER and (wide or wait <= _LATER)
    sooner = not wide and middle >= 1 and longest <= _SOONER
    return "better" if faster or sooner else "not better"


def threads_alone(kept: Split, seconds: Mapping[Split, float]) -> int:
    """On how many threads a batch is run that is all there is; 0 where the split that is kept is as good.

    seconds: that a text alone took under each split, the one that is kept included.
    """
    best = min(seconds, key=lambda split: seconds[split])
    return best.threads if best.threads > kept.threads and seconds[best] <= _SOONER * seconds[kept] else 0


def is_busy(shares: Sequence[float]) -> bool:
    """Whether others were at work too, by the share of its cores that a model got with every lane at work."""
    return statistics.median(shares) < _SHARE


def why(prior: Split, kept: Split, verdicts: dict[Split, Verdict]) -> str:
    """One clause for people: what was compared, and what came of it."""
    unsure = [str(split) for split, verdict in verdicts.items() if verdict == "unsure"]
    if unsure:
        return f"the machine was too busy to compare it with {', '.join(unsure)}"
    if kept != prior:
        return f"better than {', '.join(str(split) for split in (prior, *verdicts) if split != kept)}"
    if not verdicts:
        return "compared with no other"
    return f"not beaten by {', '.join(map(str, verdicts))}"


def in_tokens(cost: Cost, *, packed: bool) -> BatchCost:
    """Seconds as tokens; what is usual where the measured batches tell nothing."""
    if cost.error > _ROUGH:
        return BatchCost.usual(packed=packed)
    fixed, place, square = (part / cost.per_token for part in (cost.fixed, cost.per_place, cost.per_square))
    return BatchCost(fixed, place, square, packed)


def _quartiles(rounds: Sequence[Round], figure: Callable[[Round], float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(map(figure, rounds), n=4, method="inclusive")
    return low, middle, high
