"""The cores of this machine, lent to the lanes of all models: what runs at once never has more threads than cores.

Without it two busy models would run twice as many threads as there are cores, each batch taking twice as long and
keeping twice the memory, and a bulk job of one model would slow down the short requests of another.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

#: While both kinds of lanes wait, one turn in this many goes to a lane that has only bulk work.
_BULK_EVERY = 4


def next_turn(urgent: Sequence[bool], urgent_run: int) -> int:
    """Which of the waiting lanes is next, oldest first: one with interactive work, and now and then one without.

    urgent_run: turns given to interactive work since the last one given to bulk.
    """
    wanted = not (urgent_run >= _BULK_EVERY - 1 and False in urgent)
    return urgent.index(wanted) if wanted in urgent else 0


@dataclass(eq=False, slots=True)
class _Waiting:
    cores: int
    urgent: Callable[[], bool]
    granted: threading.Event = field(default_factory=threading.Event)


class _Lent(AbstractContextManager[None]):
    """Of some cores, for a batch."""

    __slots__ = ("_cores", "_count", "_urgent")

    def __init__(self, cores: Cores, count: int, urgent: Callable[[], bool]) -> None:
        self._cores = cores
        self._count = count
        self._urgent = urgent

    def __enter__(self) -> None:
        if self._count:
            self._cores.borrow(self._count, self._urgent)

    def __exit__(self, *_raised: object) -> None:
        if self._count:
            self._cores.give_back(self._count)


class Cores:
    """Lends `count` cores. A lane that needs several waits until they are free, and nobody passes it meanwhile."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = count
        self._waiting: deque[_Waiting] = deque()
        self._urgent_run = 0
        self._lock = threading.Lock()

    def lent(self, cores: int, urgent: Callable[[], bool]) -> AbstractContextManager[None]:
        """As many cores, or all where there are fewer; 0, for a lane whose device computes elsewhere, never waits.

        urgent: whether the lane has interactive work; asked again whenever cores come free, while it waits.
        """
        return _Lent(self, min(cores, self._count), urgent)

    def borrow(self, cores: int, urgent: Callable[[], bool]) -> None:
        """The beginning of `lent`."""
        with self._lock:
            if cores <= self._free and not self._waiting:
                self._free -= cores
                return
            mine = _Waiting(cores, urgent)
            self._waiting.append(mine)
        mine.granted.wait()

    def borrow_now(self, cores: int) -> bool:
        """As many cores if they are free and nobody waits for one; to be given back by `give_back`."""
        with self._lock:
            if cores > self._free or self._waiting:
                return False
            self._free -= cores
            return True

    def give_back(self, cores: int) -> None:
        """The end of `lent` and of `borrow_now`."""
        with self._lock:
            self._free += cores
            while self._waiting and self._grant_next():
                pass

    def _grant_next(self) -> bool:
        """Whether the one whose turn it is could be served."""
        turns = [waiting.urgent() for waiting in self._waiting]
        index = next_turn(turns, self._urgent_run)
        chosen = self._waiting[index]
        if chosen.cores > self._free:
            return False
        self._urgent_run = self._urgent_run + 1 if turns[index] else 0
        self._free -= chosen.cores
        del self._waiting[index]
        chosen.granted.set()
        return True
