"""What a load generator is told, and what it reports: JSON over the pipe between two processes.

Imported by the load generator, which is to start quickly: nothing of arrays here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sekisho.bench.figures import quantile


class LoadFailed(Exception):
    """A server did not answer a load as it should; the message says what it answered."""


@dataclass(frozen=True)
class Endpoint:
    """A server that speaks OpenAI's embeddings: where, and what every request to it carries.

    path: of its embeddings route. key: sent as a bearer token.
    width: numbers of a vector, of which no answer may have fewer; 0: not known.
    """

    name: str
    host: str
    port: int
    path: str = "/v1/embeddings"
    model: str | None = None
    encoding: Literal["base64", "float"] = "base64"
    key: str | None = None
    width: int = 0

    @property
    def least_bytes(self) -> int:
        """The fewest that a vector takes in an answer: its base64, or a digit and a comma each."""
        return 4 * math.ceil(4 * self.width / 3) if self.encoding == "base64" else 2 * self.width


@dataclass(frozen=True)
class Plan:
    """`texts` are sent `per_request` at a time over `connections` keep-alive connections, the next after each answer.

    seconds: stop then, however much is left, and begin again at the first text where there was too little; None: each
        text once.
    keep: places of texts whose vectors the report holds. stages: whether it holds the stages that answers tell of.
    """

    endpoint: Endpoint
    texts: list[str]
    per_request: int
    connections: int
    seconds: float | None = None
    keep: list[int] = field(default_factory=list)
    stages: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, written: dict[str, Any]) -> Plan:
        return cls(**written | {"endpoint": Endpoint(**written["endpoint"])})


@dataclass(frozen=True)
class Load:
    """What came of a plan.

    began, ended: of the load, in seconds of `time.perf_counter`, which the processes of a machine share.
    requests: [answered, 3]: its number, when it was answered (the same clock), milliseconds it took.
    cpu_seconds: of the load generator itself, while the load ran.
    kept: the vector of each text in the plan's `keep`, in base64 of little-endian float32.
    stages: milliseconds of each stage, a list of requests each, in the order of `requests`.
    """

    began: float
    ended: float
    requests: list[tuple[int, float, float]]
    cpu_seconds: float
    kept: dict[str, str]
    stages: dict[str, list[float]]

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def latencies(self) -> list[float]:
        """In milliseconds."""
        return [took for _, _, took in self.requests]

    @property
    def p50(self) -> float:
        return quantile(self.latencies, 0.5)

    @property
    def p99(self) -> float:
        return quantile(self.latencies, 0.99)

    def within(self, began: float, ended: float) -> list[float]:
        """The latencies of requests that lay between the two moments, in milliseconds."""
        return [took for _, at, took in self.requests if at - took / 1000 >= began and at <= ended]

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Load:
        return cls(**{**written, "requests": [tuple(request) for request in written["requests"]]})
