"""Another server at the same texts, interleaved with ours: tokens/s (P3), p99 (P4), and how near its vectors are."""

from __future__ import annotations

import json
import statistics
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sekisho.bench.curve import Curve, Point
from sekisho.bench.figures import Row
from sekisho.bench.load import judge, send, vectors
from sekisho.bench.plan import Endpoint, Load, LoadFailed, Plan
from sekisho.bench.stand import Stand

#: What both are asked for: (how it is called, texts a request, clients).
LOADS = (("16 clients", 1, 16), ("64 clients", 1, 64), ("bulk", 64, 4))
_WITH_P99 = "64 clients"
_WARMING = 128
#: Texts whose vectors of both are compared.
_COMPARED = 64


@dataclass(frozen=True)
class Duel:
    """One round: by the name of the load, tokens/s and p99 in ms, ours and theirs."""

    tokens_per_second: dict[str, tuple[float, float]]
    p99: dict[str, tuple[float, float]]


def measure(stand: Stand, other: Endpoint) -> list[Duel]:
    """Ours, theirs, ours, theirs, … for some seconds each, one of them at a time. Raises LoadFailed."""
    for endpoint in (stand.endpoint, other):
        send(Plan(endpoint, stand.texts[:_WARMING], 32, 4))
    rounds = stand.sizes.duel_rounds
    return [_round(stand, other, f"{number + 1} of {rounds}") for number in range(rounds)]


def _round(stand: Stand, other: Endpoint, which: str) -> Duel:
    seconds = stand.sizes.duel_seconds
    speeds, tails = {}, {}
    for named, size, clients in LOADS:
        stand.say(f"beside {other.name}, {named}: round {which}")
        pair = [send(Plan(one, stand.texts, size, clients, seconds=seconds)) for one in (stand.endpoint, other)]
        ours, theirs = (_tokens(stand, load, size) / load.seconds for load in pair)
        speeds[named], tails[named] = (ours, theirs), (pair[0].p99, pair[1].p99)
    return Duel(speeds, tails)


def _tokens(stand: Stand, load: Load, size: int) -> int:
    """Of the texts that were answered, by our count for both."""
    lengths = [len(tokens) for tokens in stand.encoded]
    return sum(sum(lengths[number * size : (number + 1) * size]) for number, _, _ in load.requests)


def nearness(stand: Stand, other: Endpoint) -> tuple[float, float]:
    """(mean, lowest) cosine of its vectors to ours, text by text, each sent alone. Raises LoadFailed."""
    texts = stand.texts[:_COMPARED]
    keep = list(range(len(texts)))
    ours, theirs = (vectors(send(Plan(one, texts, 1, 1, keep=keep))) for one in (stand.endpoint, other))
    if ours[0].shape != theirs[0].shape:
        return float("nan"), float("nan")
    cosines = [judge([("", ours[place])], {"": theirs[place]}).cosine for place in keep]
    return float(np.mean(cosines)), min(cosines)


def other_curve(stand: Stand, other: Endpoint) -> Curve:
    """Its throughput and times as clients become more, once and shortly: for the plots. Raises LoadFailed."""
    points = []
    for clients in stand.sizes.concurrencies:
        stand.say(f"{other.name}, {clients} clients")
        load = send(Plan(other, stand.texts, 1, clients, seconds=stand.sizes.duel_seconds / 2))
        points.append(Point(clients, _tokens(stand, load, 1) / load.seconds, load.p50, load.p99))
    return points


Make = Callable[[str, str, Sequence[float], str], Row]


def rows(name: str, duels: Sequence[Duel], nearest: tuple[float, float], make: Make | None = None) -> list[Row]:
    """make: (`tokens/s` or `p99`, the load's name, a figure a round, a note) → a row; without, rows without a bar."""
    made = make or (
        lambda what, load, values, note: Row("", f"{what} ÷ {name}'s, {load}", tuple(values), "×", note=note)
    )
    mean, lowest = nearest
    found = []
    for named, _, _ in LOADS:
        ratios = [duel.tokens_per_second[named][0] / duel.tokens_per_second[named][1] for duel in duels]
        theirs = statistics.median(duel.tokens_per_second[named][1] for duel in duels)
        note = f"theirs {theirs:,.0f} tokens/s; cosine to theirs {mean:.5f}, lowest {lowest:.5f}"
        found.append(made("tokens/s", named, ratios, note))
    tails = [duel.p99[_WITH_P99] for duel in duels]
    theirs = statistics.median(tail for _, tail in tails)
    found.append(made("p99", _WITH_P99, [ours / other for ours, other in tails], f"theirs {theirs:,.0f} ms"))
    return found


def endpoint(url: str) -> Endpoint:
    """An OpenAI base URL (http://127.0.0.1:8001/v1) → where its vectors come from, under the first model it lists.

    Raises LoadFailed where there is no such server.
    """
    parts = urllib.parse.urlsplit(url.rstrip("/"))
    if parts.scheme != "http" or not parts.hostname:
        raise LoadFailed(f"{url}: give an address that begins with http:// and ends where /embeddings follows")
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/models", timeout=30) as answer:  # noqa: S310 - http, as checked
            model = json.load(answer)["data"][0]["id"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise LoadFailed(f"{url}/models does not list a model: {error}") from None
    found = Endpoint(parts.netloc, parts.hostname, parts.port or 80, f"{parts.path}/embeddings", model)
    (vector,) = vectors(send(Plan(found, ["width"], 1, 1, keep=[0]))).values()
    return replace(found, width=len(vector))
