"""The cores of this machine, lent to the lanes of all models: what runs at once never has more threads than cores.

Without it two busy models would run twice as many threads as there are cores, each batch taking twice as long and
keeping twice the memory, and a bulk job of one model would slow down the short requests of another.

Who is next is start-time fair queueing (Goyal, Vin, Cheng 1996, https://doi.org/10.1145/248156.248171) of the time
that cores were kept: of the works that wait, the one that has had least in relation to its weight. What asks for little
is served at once, whatever else goes on; what asks for more than its part gets the rest, and nothing starves. By turns
instead of time, a model whose batches take 3 ms came to nothing beside those whose batches take 25.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

#: So long after the last interactive request there may be more of them.
_ABOUT_SECONDS = 1.0
#: Several cores are kept so long while there is work for them. They come free one by one, and the first ones lie idle
#: until the last: a reranker whose batches of 2 ms used two cores left a quarter of the machine idle beside others.
_TOGETHER_SECONDS = 0.03


@dataclass(eq=False)
class Work:
    """One kind of work of one model. weight: while others wait too, its part of the time in relation to theirs."""

    weight: float = 1.0
    #: Seconds of cores it has had, by its weight; since it last was idle those of the others count as its own.
    had: float = 0.0
    _running: int = 0
    _as_of: float = 0.0

    def change(self, cores: int, now: float) -> None:
        """From now on it has so many cores more, or less."""
        self.settle(now)
        self._running += cores

    def settle(self, now: float) -> None:
        """Count what it has had until now."""
        self.had += self._running * (now - self._as_of) / self.weight
        self._as_of = now


@dataclass(eq=False, slots=True)
class _Waiting:
    cores: int
    wanted: Callable[[], Work]
    granted: Future[Work] = field(default_factory=Future)


class Loan(AbstractContextManager["Loan"]):
    """Of some cores, for a batch."""

    __slots__ = ("_cores", "_count", "_until", "_wanted", "_work")

    def __init__(self, cores: Cores, count: int, wanted: Callable[[], Work]) -> None:
        self._cores = cores
        self._count = count
        self._wanted = wanted
        self._work: Work | None = None
        self._until = -math.inf

    def __enter__(self) -> Loan:
        if self._count:
            self._work = self._cores.borrow(self._count, self._wanted)
        if self._count > 1:
            self._until = self._cores.clock() + _TOGETHER_SECONDS
        return self

    def spend(self, work: Work) -> None:
        """It is this work that is done, although the loan may have been given for another."""
        if self._work is not None and work is not self._work:
            self._cores.pass_on(self._count, self._work, work)
            self._work = work

    def keep(self) -> bool:
        """Whether the cores may be used once more, as it would be this lane's turn anyway; no thread has to wake."""
        if self._work is None or self._cores.clock() < self._until:
            return True
        return self._cores.may_keep(self._work, self._wanted())

    def __exit__(self, *_raised: object) -> None:
        if self._work is not None:
            self._cores.give_back(self._count, self._work)


class Cores:
    """Lends `count` cores. A lane that needs several waits until they are free, and nobody passes it meanwhile."""

    def __init__(self, count: int, clock: Callable[[], float] = time.perf_counter) -> None:
        """clock: seconds, which never go back."""
        self.clock = clock
        self._count = count
        self._free = count
        self._waiting: deque[_Waiting] = deque()
        #: What the work that was served last had had: whoever comes now begins there.
        self._begin = 0.0
        self._interactive_until = -math.inf
        self._lock = threading.Lock()

    @property
    def interactive_about(self) -> bool:
        """Whether somebody may be waiting for a short answer of any model: bulk then keeps nothing for long."""
        return self.clock() < self._interactive_until

    def interactive_came(self) -> None:
        """A request that somebody waits for."""
        self._interactive_until = self.clock() + _ABOUT_SECONDS

    def lent(self, cores: int, wanted: Callable[[], Work]) -> Loan:
        """As many cores, or all where there are fewer; 0, for a lane whose device computes elsewhere, never waits.

        wanted: what the lane would do now; asked again whenever cores come free, while it waits.
        """
        return Loan(self, min(cores, self._count), wanted)

    def borrow(self, cores: int, wanted: Callable[[], Work]) -> Work:
        """The beginning of `lent`: what the cores were given for."""
        with self._lock:
            if cores <= self._free and not self._waiting:
                return self._grant(cores, wanted())
            mine = _Waiting(cores, wanted)
            self._waiting.append(mine)
        return mine.granted.result()

    def borrow_now(self, cores: int, work: Work) -> bool:
        """As many cores if they are free and nobody waits for one; to be given back by `give_back`."""
        with self._lock:
            if cores > self._free or self._waiting:
                return False
            self._grant(cores, work)
            return True

    def pass_on(self, cores: int, given: Work, done: Work) -> None:
        """What was given for one work is used for another."""
        with self._lock:
            now = self.clock()
            given.change(-cores, now)
            self._start(cores, done, now)

    def may_keep(self, done: Work, wanted: Work) -> bool:
        """Whether one that has done this would be served before all that wait, if it asked for that."""
        with self._lock:
            now = self.clock()
            done.settle(now)
            rank = self._rank(wanted)
            if not all(other is wanted or rank < self._rank(other) for other in self._asked(now)):
                return False
            self._begin = max(wanted.had, self._begin)  # it is served once more
            return True

    def give_back(self, cores: int, work: Work) -> None:
        """The end of `lent` and of `borrow_now`."""
        with self._lock:
            self._free += cores
            work.change(-cores, self.clock())
            while self._waiting and self._grant_next():
                pass

    def _grant_next(self) -> bool:
        """Whether the one whose turn it is could be served."""
        wanted = self._asked(self.clock())
        turn = min(range(len(wanted)), key=lambda place: self._rank(wanted[place]))
        chosen = self._waiting[turn]
        if chosen.cores > self._free:
            return False
        del self._waiting[turn]
        chosen.granted.set_result(self._grant(chosen.cores, wanted[turn]))
        return True

    def _asked(self, now: float) -> list[Work]:
        """What each that waits would do."""
        wanted = [waiting.wanted() for waiting in self._waiting]
        for work in wanted:
            work.settle(now)
        return wanted

    def _rank(self, work: Work) -> tuple[float, float]:
        """The smallest is next; of equal ones the heavier work, then the one that has waited longest."""
        return max(work.had, self._begin), -work.weight

    def _grant(self, cores: int, work: Work) -> Work:
        self._free -= cores
        self._begin = max(work.had, self._begin)
        self._start(cores, work, self.clock())
        return work

    def _start(self, cores: int, work: Work, now: float) -> None:
        """What was idle begins where the others are: it has saved nothing up."""
        work.settle(now)
        work.had = max(work.had, self._begin)
        work.change(cores, now)
