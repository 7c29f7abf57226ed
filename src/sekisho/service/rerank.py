"""A query and documents in, a score each out: cross-encoders on the same engine as embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sekisho.catalog.registry import Registry, Spec
from sekisho.contract import Passage, Timings, Truncation
from sekisho.engine.pool import Pool
from sekisho.errors import InvalidRequest
from sekisho.service.embed import observe

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scored:
    """logits: float32 [documents], in the order given; tokens: of all pairs; truncated: how many pairs were cut."""

    spec: Spec
    logits: Logits
    tokens: int
    truncated: int
    timings: Timings


class RerankService:
    """The one way to scores, whatever the dialect."""

    def __init__(self, registry: Registry, pool: Pool) -> None:
        self._registry = registry
        self._pool = pool

    async def score(
        self, model: str | None, query: str, documents: Sequence[str], truncation: Truncation | None = None
    ) -> Scored:
        """Each document read together with the query, as one request however many there are.

        Raises ModelNotFound, InvalidRequest and whatever loading and running the model raise.
        """
        spec = self._spec(model)
        if not documents:
            raise InvalidRequest("`documents` is an empty list: send at least one", param="documents")
        pairs = [Passage(query, pair=document) for document in documents]
        async with self._pool.use(spec) as engine:
            result = await engine.infer(pairs, truncation or ("end" if spec.truncate else "none"))
        if result.rows.shape[1] != 1:
            raise InvalidRequest(
                f"{spec.name!r} gives {result.rows.shape[1]} scores a pair: it classifies, it does not rank",
                param="model",
            )
        observe(spec, result)
        return Scored(spec, result.rows[:, 0], result.tokens, result.truncated, result.timings)

    def _spec(self, name: str | None) -> Spec:
        spec = self._registry.find(name) if name else self._registry.default("reranker")
        if spec.kind != "reranker":
            raise InvalidRequest(f"{spec.name!r} is an {spec.kind} model, not a reranker", param="model")
        return spec


def sigmoid(logits: Logits) -> Logits:
    """1 / (1 + e^-x) in float32, without overflow at either end."""
    small = np.exp(-np.abs(logits), dtype=np.float32)
    scores: Logits = np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
    return scores
