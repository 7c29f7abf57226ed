"""The peers beside our server, in one run: tokens/s (P3), p99 (P4), time to the first vector (P10)."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from benchmarks.peers import INFINITY, INFINITY_SDPA, PEERS, Peer, PeerMissing, SentenceTransformers
from sekisho.bench.bars import row
from sekisho.bench.figures import Row
from sekisho.bench.plan import Endpoint
from sekisho.bench.report import Report
from sekisho.bench.run import Section, other_server
from sekisho.bench.server import Served, free_port, serving
from sekisho.bench.stand import Stand
from sekisho.runtime.machine import this_machine

_WIDTH = 384
#: Times faster than Infinity where the CPU has no bfloat16.
_WITHOUT_BF16 = 3.0
_STARTS_OF_INFINITY = 0.2
#: The bars are held against both: with BetterTransformer, which needs an optimum of early 2025, and what pip resolves
#: today, which has none and is slower.
_JUDGED = (INFINITY, INFINITY_SDPA)
#: Texts that sentence-transformers encodes at once, in turns with the ideal.
_ENCODED = 256


@contextmanager
def started(peer: Peer) -> Iterator[Served]:
    """A peer's server that has given a vector. Raises PeerMissing and ServerFailed."""
    port = free_port()
    endpoint = Endpoint(peer.title, "127.0.0.1", port, peer.path, peer.model, width=_WIDTH)
    with serving(endpoint, partial(peer.start, port)) as served:
        yield served


def sections(say: Callable[[str], None]) -> list[Section]:
    """One for each peer whose environment is there; of the others it is said that they are left out."""
    made: list[Section] = []
    for peer in PEERS:
        if peer.installed:
            made.append(partial(_beside, peer))
        else:
            say(f"{peer.title} is left out: {PeerMissing(peer.environment)}")
    if SentenceTransformers().installed:
        made.append(_sentence_transformers)
    return made


def _beside(peer: Peer, report: Report, stand: Stand) -> list[Row]:
    """Infinity as often as its bars ask for, the others once."""
    with started(peer) as served:
        if peer in _JUDGED:
            return other_server(served.endpoint, partial(_infinity_row, peer), report, stand)
        sizes, stand.sizes = stand.sizes, replace(stand.sizes, duel_rounds=1)
        try:
            return other_server(served.endpoint, None, report, stand)
        finally:
            stand.sizes = sizes


def _infinity_row(peer: Peer, what: str, load: str, values: Sequence[float], note: str) -> Row:
    limit = None if "BF16" in this_machine().formats else _WITHOUT_BF16
    which = "" if peer is INFINITY else ", as pip installs it today"
    if what == "p99":
        return row("P4", values, which, note=note)
    return row("P3", values, f", {load}{which}", limit=limit, note=note)


def _sentence_transformers(_report: Report, stand: Stand) -> list[Row]:
    """In process, as it is used: the same texts through `encode`, in turns with the ideal."""
    texts = stand.texts[:_ENCODED]
    ratios, speeds = [], []
    with SentenceTransformers() as theirs:
        theirs.encode(texts)
        for number in range(stand.sizes.rounds):
            stand.say(f"{theirs.title}: round {number + 1} of {stand.sizes.rounds}")
            ideal = stand.ideal_tokens_per_second()
            encoded = theirs.encode(texts)
            speeds.append(encoded.tokens / encoded.seconds)
            ratios.append(ideal / speeds[-1])
        note = f"theirs {statistics.median(speeds):,.0f} tokens/s"
        return [Row("", f"ideal's tokens/s ÷ {theirs.title}'s in process", tuple(ratios), "×", note=note)]


def first_vector_rows(ours: Callable[[], float], rounds: int) -> list[Row]:
    """Ours, Infinity's, ours, …: seconds from a process' start to its first vector, as a ratio."""
    ratios, theirs = [], []
    for _ in range(rounds):
        with started(INFINITY) as served:
            theirs.append(served.first_vector_seconds)
        ratios.append(ours() / theirs[-1])
    note = f"theirs {statistics.median(theirs):.1f} s"
    return [row("P10", ratios, " ÷ Infinity's", limit=_STARTS_OF_INFINITY, unit="×", note=note)]
