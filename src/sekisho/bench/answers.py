"""What answers hold: vectors, and how long each stage took. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from struct import pack

import orjson

from sekisho.bench.plan import Plan

#: Headers in which Sekisho says where the time of a request went, in milliseconds.
STAGES = {"x-tokenize-ms": "tokenize", "x-queue-ms": "queue", "x-inference-ms": "run", "x-total-ms": "total"}


def kept_vectors(plan: Plan, bodies: Mapping[int, bytes]) -> dict[str, str]:
    """The vectors of the texts to keep, as `Load.kept` has them, out of the answers by number of their request."""
    kept = {}
    for place in plan.keep:
        number, index = divmod(place, plan.per_request)
        if number in bodies:
            kept[str(place)] = _in_base64(_vectors(bodies[number])[index])
    return kept


def _vectors(body: bytes) -> list[str | list[float]]:
    items = sorted(orjson.loads(body)["data"], key=lambda item: item["index"])
    return [item["embedding"] for item in items]


def _in_base64(vector: str | list[float]) -> str:
    return vector if isinstance(vector, str) else base64.b64encode(pack(f"<{len(vector)}f", *vector)).decode()


def stages(heads: Sequence[bytes]) -> dict[str, list[float]]:
    """Milliseconds of each stage, a list of all answers each, out of their heads; empty where they do not tell."""
    found: dict[str, list[float]] = {}
    for head in heads:
        for line in head.decode("latin-1").lower().split("\r\n"):
            name, _, value = line.partition(":")
            if name in STAGES:
                found.setdefault(STAGES[name], []).append(float(value))
    return found
