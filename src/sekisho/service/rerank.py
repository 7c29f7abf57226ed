"""A query and documents in, a score each out: cross-encoders, language models that are asked, embedding models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sekisho.catalog.registry import Registry, Spec
from sekisho.contract import Inference, Rows, Timings, Truncation
from sekisho.engine.engine import Engine
from sekisho.engine.pool import Pool
from sekisho.errors import InvalidRequest
from sekisho.service.embed import observe
from sekisho.service.model_names import find_model
from sekisho.service.pairs import Pair, Reading, pair_passages, single_passages

Logits = NDArray[np.float32]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scored:
    """logits: float32 [pairs], in the order given; tokens: of all pairs; truncated: how many texts were cut.

    final: the logits are scores already: cosines, or what another service gave.
    """

    spec: Spec
    logits: Logits
    tokens: int
    truncated: int
    timings: Timings
    final: bool = False

    def scores(self, *, raw: bool = False) -> Logits:
        """float32 [pairs]: the sigmoid of the logits, or as they are where the request or the registry says so."""
        as_they_are = raw or self.final or self.spec.activation == "none"
        return self.logits if as_they_are else sigmoid(self.logits)

    def order(self, top_n: int | None = None) -> list[int]:
        """Places of the pairs, the best first; None or 0: of all. Equals stay as they came.

        By logit, since the sigmoids of two large ones may be the same.
        """
        ranked: list[int] = np.argsort(-self.logits, kind="stable").tolist()
        return ranked[: top_n or None]


class RerankService:
    """The one way to scores of pairs, whatever the dialect."""

    def __init__(self, registry: Registry, pool: Pool) -> None:
        self._registry = registry
        self._pool = pool

    async def score(
        self, model: str | None, query: str | Sequence[str], documents: Sequence[str], reading: Reading | None = None
    ) -> Scored:
        """Each document with the query, or with the query of its own place, as one request however many there are.

        An embedding model gives the cosine of their vectors. Equal pairs are read once and have equal scores.

        Raises ModelNotFound, InvalidRequest and whatever loading and running the model raise.
        """
        reading = reading or Reading()
        spec = find_model(self._registry, model)[0] if model else self._registry.default("reranker")
        if not documents:
            raise InvalidRequest(f"`{reading.field}` is an empty list: send at least one", param=reading.field)
        queries = [query] * len(documents) if isinstance(query, str) else query
        pairs = list(zip(queries, documents, strict=True))
        async with self._pool.use(spec) as engine:
            if spec.kind == "embedding":
                return await _cosines(spec, engine, pairs, reading)
            return await _logits(spec, engine, pairs, reading)


async def _logits(spec: Spec, engine: Engine, pairs: Sequence[Pair], reading: Reading) -> Scored:
    if engine.contract.width > 1:
        raise InvalidRequest(
            f"{spec.name!r} gives {engine.contract.width} scores a pair: it classifies, it does not rank. "
            "Choose a reranker; GET /v1/models lists them",
            param="model",
        )
    places, unique = _once(pairs)
    result = await engine.infer(pair_passages(spec, unique, reading), reading.truncation or _truncation(spec))
    observe(spec, result)
    tokens, truncated = _counts(result, places)
    return Scored(spec, result.rows[places, 0], tokens, truncated, result.timings, result.scored)


async def _cosines(spec: Spec, engine: Engine, pairs: Sequence[Pair], reading: Reading) -> Scored:
    asking, queries = _once([query for query, _ in pairs])
    holding, documents = _once([document for _, document in pairs])
    passages = single_passages(spec, queries, documents, reading)
    result = await engine.infer(passages, reading.truncation or _truncation(spec))
    observe(spec, result)
    rows = unit(result.rows)
    cosines = np.einsum("ij,ij->i", rows[len(documents) :][asking], rows[: len(documents)][holding])
    # Of each query once, of each document as often as it was sent.
    tokens, truncated = _counts(result, [*holding, *range(len(documents), len(passages))])
    return Scored(spec, cosines, tokens, truncated, result.timings, final=True)


def _once(given: Sequence[T]) -> tuple[list[int], list[T]]:
    """(of each its place among the different ones, the different ones): what is the same is run once."""
    places: dict[T, int] = {}
    return [places.setdefault(each, len(places)) for each in given], list(places)


def _counts(result: Inference, places: Sequence[int]) -> tuple[int, int]:
    """Tokens and cut texts of all that was sent; what another service counted is taken as it is."""
    if not result.counts:
        return result.tokens, result.truncated
    texts = [result.counts[place] for place in places]
    return sum(map(len, texts)), sum(text.truncated for text in texts)


def _truncation(spec: Spec) -> Truncation:
    return "end" if spec.truncate else "none"


def unit(rows: Rows) -> Rows:
    """Rows of length 1; those of nothing but zeros stay."""
    units: Rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
    return units


def sigmoid(logits: Logits) -> Logits:
    """1 / (1 + e^-x) in float32, without overflow at either end."""
    small = np.exp(-np.abs(logits), dtype=np.float32)
    scores: Logits = np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
    return scores
