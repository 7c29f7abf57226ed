"""What half an hour of load shows: rates, windows of latency, drift, memory. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from benchmarks.endurance_plan import Answered, Stream
from sekisho.bench.figures import late_growth, quantile

#: Memory of the last quarter against that of the second; latency of the last third against that of the first.
MOST_GROWTH = 1.05
MOST_DRIFT = 1.2


def bounded(
    streams: Sequence[Stream], alone: dict[str, float], share_of: dict[str, float], busy: float
) -> list[Stream]:
    """The streams at rates that keep the server busy for `busy` of the time.

    alone: requests a second of each stream when it has the server for itself. share_of: of that time, each stream's.
    A request of a stream costs the server 1 ÷ alone seconds, so its rate is busy × share × alone.
    """
    whole = sum(share_of[stream.name] for stream in streams)
    return [
        replace(stream, rate=busy * share_of[stream.name] / whole * alone[stream.name], clients=1) for stream in streams
    ]


def requests_a_second(answers: Iterable[Answered]) -> dict[str, float]:
    """By stream, over the time from the first request to the last answer."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for one in answers:
        spans.setdefault(one.stream, []).append((one.at, one.at + one.milliseconds / 1000))
    return {
        stream: len(found) / (max(end for _, end in found) - min(start for start, _ in found))
        for stream, found in spans.items()
    }


@dataclass(frozen=True)
class Window:
    """Latencies of the requests of a stream that were due between two moments, in milliseconds."""

    stream: str
    at: float
    answers: int
    p50: float
    p99: float


def windows(answers: Iterable[Answered], seconds: float, ended: float) -> list[Window]:
    """Of `seconds` each, by stream; the last one is left out unless it is whole."""
    found: dict[tuple[str, int], list[float]] = {}
    for one in answers:
        number = int(one.at // seconds)
        if (number + 1) * seconds <= ended:
            found.setdefault((one.stream, number), []).append(one.milliseconds)
    return [
        Window(stream, number * seconds, len(values), quantile(values, 0.5), quantile(values, 0.99))
        for (stream, number), values in sorted(found.items())
    ]


@dataclass(frozen=True)
class Drift:
    """p99 of a stream: medians of the windows in the first and in the last third of the run, in milliseconds."""

    stream: str
    first: float
    last: float

    @property
    def ratio(self) -> float:
        return self.last / self.first


def drifts(found: Sequence[Window]) -> list[Drift]:
    """By stream; nothing for a stream of fewer than three windows."""
    result = []
    for stream in dict.fromkeys(window.stream for window in found):
        values = [window.p99 for window in found if window.stream == stream]
        third = len(values) // 3
        if third:
            result.append(Drift(stream, statistics.median(values[:third]), statistics.median(values[-third:])))
    return result


def thirds(values: Sequence[float]) -> float:
    """Median of the last third ÷ that of the first."""
    third = max(1, len(values) // 3)
    return statistics.median(values[-third:]) / statistics.median(values[:third])


def growth(samples: Sequence[tuple[float, float]]) -> float:
    """Of memory: median of the last quarter ÷ that of the second. samples: (moment, figure), in order."""
    whole = samples[-1][0]
    return late_growth([(moment / whole, figure) for moment, figure in samples])


def flat(ratio: float) -> bool:
    """Whether memory neither grew nor shrank by more than 5 %."""
    return 1 / MOST_GROWTH <= ratio <= MOST_GROWTH


def errors(answers: Iterable[Answered]) -> list[tuple[str, int]]:
    """(what was wrong, how often), the most frequent first."""
    return Counter(one.wrong for one in answers if one.wrong).most_common()
