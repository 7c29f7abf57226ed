"""Mixed load (P8): single queries while one request with thousands of texts is being answered."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from sekisho.bench.bars import row
from sekisho.bench.counted import Counted
from sekisho.bench.figures import Row, quantile
from sekisho.bench.load import Loading, send
from sekisho.bench.mix import Lengths, texts
from sekisho.bench.plan import Load, Plan
from sekisho.bench.stand import Stand

#: Clients of the queries: a busy service, and one alone.
CLIENTS = (16, 1)
_JOB = Lengths(median=16, sigma=0.9)
_SEED = 8
#: The job is sent again and again until it is told to stop, then for the last time.
_UNTIL_STOPPED = 3600.0
_LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Mixed:
    """Latencies of single queries in milliseconds, by their clients: without the job, and while it ran."""

    without: dict[int, list[float]]
    beside: dict[int, list[float]]

    def ratio(self, clients: int) -> float:
        """p99 beside the job ÷ p99 without it."""
        return quantile(self.beside[clients], 0.99) / quantile(self.without[clients], 0.99)


def measure(stand: Stand) -> list[Mixed]:
    """Queries of the usual mix; the job is one request. Raises LoadFailed."""
    job = texts(stand.sizes.mixed, _SEED, replace(_JOB, limit=stand.ideal.contract.max_tokens))
    return [_round(stand, job, number) for number in range(stand.sizes.mixed_rounds)]


def _round(stand: Stand, job: list[str], number: int) -> Mixed:
    stand.say(f"single queries beside a job of {len(job):,} texts: round {number + 1} of {stand.sizes.mixed_rounds}")
    without = {clients: _queries(stand, clients).latencies for clients in CLIENTS}
    beside: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    queries: list[tuple[int, Load]] = []
    counted = Counted(stand.served)
    bulk = Loading(Plan(stand.endpoint, job, len(job), 1, seconds=_UNTIL_STOPPED))
    try:
        while not counted.batches():
            time.sleep(_LOOK_SECONDS)
        queries += [(clients, _queries(stand, clients)) for clients in CLIENTS]
    finally:
        bulk.stop()
    while not bulk.ended:
        queries += [(clients, _queries(stand, clients)) for clients in CLIENTS]
    running = bulk.result()
    for clients, load in queries:
        beside[clients] += load.within(running.began, running.ended)
    return Mixed(without, beside)


def _queries(stand: Stand, clients: int) -> Load:
    return send(Plan(stand.endpoint, stand.texts, 1, clients, seconds=stand.sizes.mixed_seconds))


def rows(rounds: list[Mixed]) -> list[Row]:
    """P8 for each number of clients, and the times themselves."""
    made = []
    for clients in CLIENTS:
        named = "one client" if clients == 1 else f"{clients} clients"
        made.append(row("P8", [each.ratio(clients) for each in rounds], f", {named}"))
        beside = tuple(quantile(each.beside[clients], 0.99) for each in rounds)
        made.append(Row("", f"p99 of single queries beside the job, {named}", beside, "ms"))
    return made
