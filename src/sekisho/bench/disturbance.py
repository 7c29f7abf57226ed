"""Whether something else ran while we measured: what the machine says of its cores, and what our processes used."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import psutil

#: In percent of all cores' time.
_MOST_OTHERS = 4.0
_MOST_STOLEN = 1.0
#: Of the ideal between rounds, in percent; it measures nothing but the machine.
MOST_DRIFT = 15.0


@dataclass(frozen=True)
class Moment:
    """A clock and the seconds of CPU up to it: of all that ran, of that ours, and what the host took away."""

    clock: float
    busy: float
    ours: float
    stolen: float
    load: float


def now() -> Moment:
    """Reads the machine's counters. Ours are this process and its children, those that have ended too."""
    total = psutil.cpu_times()
    busy = sum(getattr(total, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq"))
    return Moment(time.perf_counter(), busy, _ours(), getattr(total, "steal", 0.0), os.getloadavg()[0])


def _ours() -> float:
    own = psutil.Process()
    spent = 0.0
    for process in (own, *own.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        spent += times.user + times.system + times.children_user + times.children_system
    return spent


def told(before: Moment, after: Moment, cores: int) -> str:
    """What disturbed the time between, in words; "" where nothing did."""
    seconds = max(after.clock - before.clock, 1e-9) * cores
    others = 100 * max(0.0, (after.busy - before.busy) - (after.ours - before.ours)) / seconds
    stolen = 100 * (after.stolen - before.stolen) / seconds
    found = []
    if others > _MOST_OTHERS:
        found.append(f"other programs used {others:.0f} % of the cores")
    if stolen > _MOST_STOLEN:
        found.append(f"the host took {stolen:.0f} % of the cores away")
    return "; ".join(found)
