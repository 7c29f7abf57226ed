"""Where the time of a single-text request goes: what the server says of itself, and what is around it."""

from __future__ import annotations

import statistics

from sekisho.bench.plan import Load
from sekisho.bench.stand import Stand

_CLIENTS = (1, 64)
#: In the order in which a request passes them, the last two around them all.
STAGES = ("tokenize", "queue", "run", "rest of the server", "connection and client")


def measure(stand: Stand) -> dict[str, dict[str, float]]:
    """Median milliseconds of each stage, by clients. Raises LoadFailed."""
    stand.say("stages of a request")
    return {
        str(clients): medians(stand.send(stand.texts[: stand.sizes.single], 1, clients, stages=True))
        for clients in _CLIENTS
    }


def medians(load: Load) -> dict[str, float]:
    """Of a load whose plan asked for stages."""
    told = load.stages
    inside = [sum(parts) for parts in zip(told["tokenize"], told["queue"], told["run"], strict=True)]
    rest = [total - within for total, within in zip(told["total"], inside, strict=True)]
    around = [took - total for took, total in zip(load.latencies, told["total"], strict=True)]
    every = (told["tokenize"], told["queue"], told["run"], rest, around)
    return {stage: statistics.median(times) for stage, times in zip(STAGES, every, strict=True)}
