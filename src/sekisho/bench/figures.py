"""Figures of several rounds: their middle, their spread, and whether they meet a bar. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def percentage_apart(values: Sequence[float]) -> float:
    """(highest − lowest) ÷ median, in percent."""
    return 100 * (max(values) - min(values)) / statistics.median(values)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    bar: the name of the bar, such as P1; several rows may belong to one. what: the figure in words.
    values: a figure a round; the median counts. limit: what the median has to reach; None: nothing is asked.
    at_least: whether the limit is a lowest figure or a highest one.
    note: how it was measured, where that differs from run to run. disturbed: what else ran meanwhile; "" where nothing.
    """

    bar: str
    what: str
    values: tuple[float, ...]
    unit: str = ""
    limit: float | None = None
    at_least: bool = False
    note: str = ""
    disturbed: str = ""

    @property
    def figure(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """None where nothing is asked."""
        return None if self.limit is None else meets(self.figure, self.limit, at_least=self.at_least)

    def as_json(self) -> dict[str, Any]:
        """All of it, with what follows from it for people who read the file."""
        return asdict(self) | {"figure": self.figure, "met": self.met}

    @classmethod
    def from_json(cls, written: dict[str, Any]) -> Row:
        """The reverse; what follows is found again."""
        fields = {key: value for key, value in written.items() if key not in {"figure", "met"}}
        return cls(**fields | {"values": tuple(fields["values"])})


def meets(figure: float, limit: float, *, at_least: bool) -> bool:
    """Not a number meets nothing."""
    return figure >= limit if at_least else figure <= limit


def lowest_of_peak(throughputs: Sequence[float]) -> float:
    """The lowest share of the best so far, over loads in rising order; 1 where it never falls."""
    best, lowest = 0.0, 1.0
    for throughput in throughputs:
        best = max(best, throughput)
        lowest = min(lowest, throughput / best)
    return lowest


def late_growth(samples: Sequence[tuple[float, float]]) -> float:
    """How the median of the last quarter compares with that of the second one, as a ratio.

    samples: (share of the work done, 0 to 1; figure then).
    """
    second = [figure for done, figure in samples if 0.25 <= done < 0.5]
    last = [figure for done, figure in samples if done >= 0.75]
    if not second or not last:
        return math.nan
    return statistics.median(last) / statistics.median(second)
