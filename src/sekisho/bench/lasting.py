"""What a process is when it starts and after a long time: first vector (P10), resident memory (P11)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from sekisho.bench.bars import row
from sekisho.bench.figures import Row, late_growth
from sekisho.bench.load import Loading
from sekisho.bench.mix import Lengths, texts
from sekisho.bench.plan import Load, Plan
from sekisho.bench.server import Served

Start = Callable[[], AbstractContextManager[Served]]

#: Shorter than the usual mix, as there are so many, and wider: all lengths that there are come again and again.
_LENGTHS = Lengths(median=8, sigma=1.2)
_SEED = 11
_SINGLE_SHARE = 0.8
_SINGLE_CLIENTS = 64
_BULK_TEXTS = 64
_BULK_CLIENTS = 2
_SAMPLE_SECONDS = 0.2


def first_vectors(start: Start, count: int) -> list[float]:
    """Seconds from the start of a process to its first vector, so many times. Raises ServerFailed."""
    taken = []
    for _ in range(count):
        with start() as served:
            taken.append(served.first_vector_seconds)
    return taken


@dataclass(frozen=True)
class Memory:
    """MiB resident over a long load: before it, and (share of the texts answered, MiB) in the order of time."""

    texts: int
    before: float
    samples: list[tuple[float, float]]

    @property
    def after(self) -> float:
        return self.samples[-1][1] if self.samples else self.before

    @property
    def most(self) -> float:
        return max([self.before, *(mib for _, mib in self.samples)])


def memory(served: Served, count: int, limit: int) -> Memory:
    """Single texts of 64 clients, and a fifth of the texts in bulk beside them. Raises LoadFailed."""
    made = texts(count, _SEED, replace(_LENGTHS, limit=limit))
    split = round(count * _SINGLE_SHARE)
    plans = [
        Plan(served.endpoint, made[:split], 1, _SINGLE_CLIENTS),
        Plan(served.endpoint, made[split:], _BULK_TEXTS, _BULK_CLIENTS),
    ]
    before = served.resident_mib
    loads = [Loading(plan) for plan in plans]
    seen = []
    while not all(load.ended for load in loads):
        seen.append((time.perf_counter(), served.resident_mib))
        time.sleep(_SAMPLE_SECONDS)
    results = [(load.result(), plan.per_request) for load, plan in zip(loads, plans, strict=True)]
    return Memory(count, before, by_work(seen, results))


def by_work(seen: Sequence[tuple[float, float]], loads: Sequence[tuple[Load, int]]) -> list[tuple[float, float]]:
    """(moment, figure) → (share of all texts answered by then, figure), of the moments between first and last answer.

    loads: with the texts of each of their requests.
    """
    answers = sorted((at, size) for load, size in loads for _, at, _ in load.requests)
    total = sum(size for _, size in answers)
    done, place, found = 0, 0, []
    for moment, figure in seen:
        while place < len(answers) and answers[place][0] <= moment:
            done += answers[place][1]
            place += 1
        if 0 < done < total:
            found.append((done / total, figure))
    return found


def start_rows(taken: Sequence[float]) -> list[Row]:
    """P10."""
    return [row("P10", taken)]


def memory_rows(found: Memory) -> list[Row]:
    """P11: how much, and how flat."""
    growth = late_growth(found.samples)
    flat = () if math.isnan(growth) else (growth,)
    rows = [row("P11", [found.most], f", {found.texts:,} texts", note=f"{found.before:,.0f} MiB before the load")]
    return [*rows, row("P11", flat, ": last quarter ÷ second", limit=1.05, unit="×")] if flat else rows
