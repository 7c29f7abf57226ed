"""When a replica that fails is left alone: a state machine of counts and moments. Pure: whoever calls has the clock."""

from __future__ import annotations

from dataclasses import dataclass, replace

#: So many failures in a row open it.
FAILURES = 5
#: How long it then stays open: this long the first time, twice as long after each trial that failed, up to the most.
FIRST_SECONDS = 2.0
MOST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """failures: in a row. until: while it is open, the moment from which a trial may go; None: it is closed.

    wait: how long it opened for last, in seconds. trying: a trial is under way.
    """

    failures: int = 0
    until: float | None = None
    wait: float = 0.0
    trying: bool = False


def allows(breaker: Breaker, now: float) -> bool:
    """Whether a call may go: any while closed; while open none, and after its time one at once."""
    return breaker.until is None or (now >= breaker.until and not breaker.trying)


def remaining(breaker: Breaker, now: float) -> float:
    """Seconds until a call may go; while a trial runs, how long it would stay shut if that failed."""
    if breaker.until is None:
        return 0.0
    return max(breaker.until - now, 0.0) or (_longer(breaker.wait) if breaker.trying else 0.0)


def began(breaker: Breaker) -> Breaker:
    """A call goes that was allowed; while open it is the trial."""
    return replace(breaker, trying=True) if breaker.until is not None else breaker


def succeeded(_breaker: Breaker) -> Breaker:
    """An answer came, whatever the breaker thought."""
    return Breaker()


def failed(breaker: Breaker, now: float, *, trial: bool) -> Breaker:
    """A call failed. One that began before it opened changes nothing more."""
    if breaker.until is not None:
        return _opened(breaker, now, _longer(breaker.wait)) if trial else breaker
    if breaker.failures + 1 < FAILURES:
        return replace(breaker, failures=breaker.failures + 1)
    return _opened(breaker, now, FIRST_SECONDS)


def abandoned(breaker: Breaker, *, trial: bool) -> Breaker:
    """A call ended without telling anything of the replica: its client left, or it was told to come later."""
    return replace(breaker, trying=False) if trial else breaker


def _opened(breaker: Breaker, now: float, wait: float) -> Breaker:
    return Breaker(breaker.failures + 1, now + wait, wait)


def _longer(wait: float) -> float:
    return min(2 * wait, MOST_SECONDS)
