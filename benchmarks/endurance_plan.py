"""What the load process of the endurance runs is told and what it writes down: JSON between two processes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sekisho.contract import Rows


@dataclass(frozen=True)
class Stream:
    """Requests of one shape to one model.

    size: texts, or documents of a rerank, in a request.
    rate: requests a second at random moments (Poisson), whatever is still unanswered; 0: the next after each answer.
    clients: requests on their way at once where `rate` is 0.
    requests: stop after so many where `rate` is 0; None: at the plan's end.
    """

    name: str
    shape: Literal["embed", "rerank"]
    model: str
    size: int = 1
    rate: float = 0.0
    clients: int = 1
    requests: int | None = None


@dataclass(frozen=True)
class LoadPlan:
    """seconds: how long the streams send; None: until each has sent its `requests`.

    in_turn: each stream has the server for itself, for so many seconds; else all run at once.

    texts: how many different ones, by `seed`; a request takes the next ones, and again from the first after the last.
    kept: share of the texts whose vectors, or documents whose scores, are written down.
    retry: whether a 429 is sent again after its Retry-After; else it is an answer as every other.
    """

    port: int
    streams: tuple[Stream, ...]
    records: Path
    seconds: float | None = None
    texts: int = 20_000
    seed: int = 1
    kept: float = 0.01
    retry: bool = False
    in_turn: bool = False

    def dump(self) -> str:
        return json.dumps(asdict(self) | {"records": str(self.records)})

    @classmethod
    def parse(cls, written: str) -> LoadPlan:
        fields = json.loads(written)
        streams = tuple(Stream(**stream) for stream in fields.pop("streams"))
        return cls(**fields | {"streams": streams, "records": Path(fields["records"])})


@dataclass(frozen=True)
class Answered:
    """One answer.

    at: when it was due, in seconds of the load. milliseconds: from then to its end, so that a request that had to wait
    for the load generator has waited.
    refused: how many 429 came before it. wrong: what is wrong with it; "" where nothing is.
    """

    stream: str
    at: float
    milliseconds: float
    texts: int
    refused: int
    wrong: str = ""


@dataclass(frozen=True)
class Kept:
    """A vector (or the score of one document, as a vector of one) that came under load.

    text: its number; query: that of the query of a rerank.
    """

    stream: str
    text: int
    values: str
    query: int | None = None

    @property
    def row(self) -> Rows:
        """float32 [width]."""
        return np.frombuffer(base64.b64decode(self.values), "<f4").astype(np.float32)


@dataclass(frozen=True)
class Ended:
    """The last record. cpu_seconds: of the load process, while it sent."""

    seconds: float
    cpu_seconds: float


Record = Answered | Kept | Ended
_KINDS: dict[str, type[Answered] | type[Kept] | type[Ended]] = {"a": Answered, "k": Kept, "e": Ended}


def line(record: Record) -> str:
    """One line of the file of records."""
    kind = next(kind for kind, its_class in _KINDS.items() if isinstance(record, its_class))
    return json.dumps([kind, list(vars(record).values())])


def read(path: Path) -> Iterator[Record]:
    """The records of a file, in the order they were made."""
    with path.open(encoding="utf-8") as lines:
        for written in lines:
            kind, values = json.loads(written)
            yield _KINDS[kind](*values)


def body(stream: Stream, texts: list[str]) -> dict[str, Any]:
    """The request; of a rerank the first text is the query."""
    if stream.shape == "rerank":
        return {"model": stream.model, "query": texts[0], "documents": texts[1:]}
    return {"model": stream.model, "input": texts[0] if stream.size == 1 else texts, "encoding_format": "base64"}


PATHS = {"embed": "/v1/embeddings", "rerank": "/v1/rerank"}


def rows_of(shape: str, answer: dict[str, Any], count: int) -> list[str]:
    """base64 of little-endian float32, one for each text or document in the order they were sent.

    Raises ValueError where the answer has not exactly one for each, in order.
    """
    if shape == "rerank":
        results = sorted(answer["results"], key=lambda result: result["index"])
        places, rows = (
            [result["index"] for result in results],
            [_packed(result["relevance_score"]) for result in results],
        )
    else:
        places, rows = [item["index"] for item in answer["data"]], [item["embedding"] for item in answer["data"]]
    if places != list(range(count)):
        raise ValueError(f"{len(places)} results for {count} texts, or not in their order")
    return rows


def _packed(score: float) -> str:
    return base64.b64encode(np.float32(score).tobytes()).decode()
