"""Which replica of a model gets the next call. Pure: whoever calls has the clock."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sekisho.runtime.remote.breaker import Breaker, allows, remaining


@dataclass(slots=True)
class Replica:
    """One address of a model.

    outstanding: calls under way. begun: calls ever made. rests_until: it asked for no call before that moment.
    """

    url: str
    outstanding: int = 0
    begun: int = 0
    rests_until: float = 0.0
    breaker: Breaker = field(default_factory=Breaker)


@dataclass(frozen=True, slots=True)
class Pause:
    """No replica may be called now. seconds: until one may. why: one of them asked for it, or all of them failed."""

    seconds: float
    why: Literal["resting", "open"]


def choose(replicas: Sequence[Replica], now: float, tried: Collection[int] = ()) -> int | Pause:
    """The index of the replica with the fewest calls under way, or how long there is none.

    tried: replicas that this call has been to. Another is taken where there is one.
    """
    free = [i for i, each in enumerate(replicas) if each.rests_until <= now and allows(each.breaker, now)]
    if free:
        fresh = [i for i in free if i not in tried] or free
        return min(fresh, key=lambda i: (replicas[i].outstanding, replicas[i].begun))
    # One that only asked for patience is alive; the others may not be.
    resting = [each.rests_until - now for each in replicas if each.rests_until > now and each.breaker.until is None]
    if resting:
        return Pause(min(resting), "resting")
    return Pause(min(max(remaining(each.breaker, now), each.rests_until - now) for each in replicas), "open")


def has_fresh(replicas: Sequence[Replica], now: float, tried: Collection[int]) -> bool:
    """Whether there is a replica to call at once that this call has not been to."""
    chosen = choose(replicas, now, tried)
    return not isinstance(chosen, Pause) and chosen not in tried
