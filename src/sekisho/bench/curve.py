"""Cost with load (P14): throughput, times and padding as clients become more, one text a request."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from sekisho.bench.bars import row
from sekisho.bench.counted import Counted
from sekisho.bench.figures import Row, lowest_of_peak
from sekisho.bench.stand import Stand

#: Texts for each client, so that most of a load is not its beginning and its end.
_TEXTS_A_CLIENT = 3


@dataclass(frozen=True)
class Point:
    """Some clients: tokens a second, p50 and p99 in ms; of our own server also tokens a second ÷ the ideal's just
    before and after, and padded ÷ real tokens.
    """

    clients: int
    tokens_per_second: float
    p50: float
    p99: float
    of_ideal: float = 0.0
    padding: float = 0.0


Curve = list[Point]


def measure(stand: Stand) -> list[Curve]:
    """From few clients to many, the ideal in between; so many rounds. Raises LoadFailed."""
    return [_curve(stand, number) for number in range(stand.sizes.curve_rounds)]


def _curve(stand: Stand, number: int) -> Curve:
    before, points = stand.ideal_tokens_per_second(), []
    for clients in stand.sizes.concurrencies:
        stand.say(f"{clients} clients: round {number + 1} of {stand.sizes.curve_rounds}")
        count = max(stand.sizes.curve, _TEXTS_A_CLIENT * clients)
        sent = list(islice(cycle(stand.texts), count))
        counted = Counted(stand.served)
        load = stand.send(sent, 1, clients, keep=True)
        padding, after = counted.padding(), stand.ideal_tokens_per_second()
        speed = sum(map(len, islice(cycle(stand.encoded), count))) / load.seconds
        points.append(Point(clients, speed, load.p50, load.p99, speed / statistics.mean((before, after)), padding))
        before = after
    return points


def rows(curves: Sequence[Curve]) -> list[Row]:
    """P14 on the curve of the medians, and the curve.

    Not on each round's own: where points are off by 4 %, the lowest of six is expected at 0.92 of the highest before it
    on a curve that is flat.
    """
    figures = [
        row("P14", [_lowest(medians(curves))]),
        Row("", "the same of each round's own curve", tuple(map(_lowest, curves)), "×"),
    ]
    for points in zip(*curves, strict=True):
        clients = "1 client" if points[0].clients == 1 else f"{points[0].clients:,} clients"
        shares = tuple(point.of_ideal for point in points)
        p99 = statistics.median(point.p99 for point in points)
        figures.append(Row("", f"tokens/s ÷ ideal, {clients}", shares, "×", note=f"p99 {p99:,.0f} ms"))
    return figures


def _lowest(curve: Curve) -> float:
    return lowest_of_peak([point.of_ideal for point in curve])


def medians(curves: Sequence[Curve]) -> Curve:
    """The curve of the medians of several."""
    return [
        Point(
            points[0].clients,
            *(statistics.median(getattr(point, name) for point in points) for name in _FIGURES),
        )
        for points in zip(*curves, strict=True)
    ]


_FIGURES = ("tokens_per_second", "p50", "p99", "of_ideal", "padding")
