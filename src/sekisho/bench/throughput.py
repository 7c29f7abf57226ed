"""Served tokens a second beside the ideal, interleaved: bulk (P1), single texts (P2), and padding (P15)."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from sekisho.bench.bars import row
from sekisho.bench.counted import Counted
from sekisho.bench.figures import Row, percentage_apart
from sekisho.bench.stand import Stand

BULK_TEXTS = 64
BULK_CLIENTS = 4
SINGLE_CLIENTS = 64


@dataclass(frozen=True)
class Round:
    """Tokens a second of the ideal, before, between and after the loads; of bulk and of single texts.

    padding, places: of the single texts, tokens computed on and places in attention, each ÷ real tokens. client: the
    share of one core that the load generator took meanwhile.
    """

    ideals: tuple[float, float, float]
    bulk: float
    single: float
    padding: float
    places: float
    client: float

    @property
    def bulk_of_ideal(self) -> float:
        return self.bulk / statistics.mean(self.ideals[:2])

    @property
    def single_of_ideal(self) -> float:
        return self.single / statistics.mean(self.ideals[1:])


def measure(stand: Stand, between: Callable[[], None]) -> list[Round]:
    """Ideal, bulk, ideal, single texts, ideal; so many rounds, with `between` before each. Raises LoadFailed."""
    rounds = []
    for number in range(stand.sizes.rounds):
        stand.say(f"bulk and single texts beside the ideal: round {number + 1} of {stand.sizes.rounds}")
        between()
        rounds.append(_round(stand))
    return rounds


def _round(stand: Stand) -> Round:
    bulk_texts, single_texts = stand.texts[: stand.sizes.bulk], stand.texts[: stand.sizes.single]
    before = stand.ideal_tokens_per_second()
    bulk = stand.send(bulk_texts, BULK_TEXTS, BULK_CLIENTS, keep=True)
    between = stand.ideal_tokens_per_second()
    counted = Counted(stand.served)
    single = stand.send(single_texts, 1, SINGLE_CLIENTS, keep=True)
    padding, places = counted.padding(), counted.places()
    return Round(
        (before, between, stand.ideal_tokens_per_second()),
        stand.tokens(len(bulk_texts)) / bulk.seconds,
        stand.tokens(len(single_texts)) / single.seconds,
        padding,
        places,
        single.cpu_seconds / single.seconds,
    )


def rows(rounds: list[Round]) -> list[Row]:
    """P1, P2, P15, and beside them what they rest on."""
    ideals = [speed for each in rounds for speed in each.ideals]
    return [
        row("P1", [each.bulk_of_ideal for each in rounds]),
        row("P2", [each.single_of_ideal for each in rounds]),
        row("P15", [each.padding for each in rounds]),
        Row("", "places in attention ÷ real tokens", tuple(each.places for each in rounds), "×"),
        Row("", "ideal in process", tuple(ideals), "tokens/s", note=f"drift {percentage_apart(ideals):.0f} %"),
        Row("", "served, bulk", tuple(each.bulk for each in rounds), "tokens/s"),
        Row("", "served, single texts, 64 clients", tuple(each.single for each in rounds), "tokens/s"),
        Row("", "load generator meanwhile", tuple(each.client for each in rounds), "cores"),
    ]
