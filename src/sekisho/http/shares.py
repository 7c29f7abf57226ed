"""Which cores each of several worker processes owns."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sekisho.http.server import CannotServe
from sekisho.runtime.machine import usable_cores

_TOPOLOGY = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Share:
    """What one worker has of the machine.

    cores: numbers of the processors it is kept on; None where the system keeps no process on any (macOS, Windows).
    threads: for inference; None where those are as many as its cores, which the worker counts by itself.
    """

    cores: frozenset[int] | None
    threads: int | None


def divide(workers: int, processors: list[int] | None, usable: int) -> list[Share]:
    """Equal shares of a machine; where they cannot be equal, some are one larger.

    processors: those of the affinity mask, neighbours next to each other; None where there is no such mask.
    usable: how many cores may be kept busy: those, or fewer under a cgroup's quota. A quota names no processors, and
    if every container of a host kept to the lowest numbers they would all be on the same ones. So all processors are
    shared out, and the quota is divided by threads.

    Raises CannotServe where there are more workers than cores.
    """
    if workers > usable:
        raise CannotServe(
            f"{workers} workers need {workers} cores, and this process may use {usable}: "
            f"set SEKISHO_WORKERS to {usable}{' or less' if usable > 1 else ''}"
        )
    if processors is None:
        return [Share(None, threads) for threads in _parts(usable, workers)]
    counted_by_itself = usable >= len(processors)
    shares, at = [], 0
    for size, threads in zip(_parts(len(processors), workers), _parts(usable, workers), strict=True):
        cores = frozenset(processors[at : at + size])
        shares.append(Share(cores, None if counted_by_itself else threads))
        at += size
    return shares


def shares_here(workers: int) -> list[Share]:
    """Equal shares of what this process may use. Raises CannotServe."""
    mask = neighbours(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return divide(workers, mask, usable_cores())


def neighbours(processors: Iterable[int], topology: Path = _TOPOLOGY) -> list[int]:
    """In such an order that the two threads of one core, and the cores of one socket, are next to each other.

    Linux numbers the first threads of all cores before the second ones: halves by number would be two workers on every
    core.
    """
    return sorted(processors, key=lambda number: (*_place(topology / f"cpu{number}/topology"), number))


def _place(directory: Path) -> tuple[int, int]:
    try:
        return int((directory / "physical_package_id").read_text()), int((directory / "core_id").read_text())
    except (OSError, ValueError):  # not told, as in some sandboxes
        return 0, 0


def _parts(whole: int, parts: int) -> list[int]:
    return [whole * (part + 1) // parts - whole * part // parts for part in range(parts)]
