"""What bge-m3 says of the words in a text: a weight each (sparse), and a vector a token (multi-vector)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sekisho.catalog.registry import Head, Registry, Spec
from sekisho.contract import Inference, Passage, Rows, Timings, Tokens, Truncation
from sekisho.engine.pool import Pool
from sekisho.errors import InvalidRequest
from sekisho.service.embed import observe
from sekisho.service.model_names import find_model
from sekisho.service.prompts import prompt_for, with_prompt


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """Texts whose tokens are asked for. None means: as the registry says. kind: `input_type` in any dialect's words."""

    texts: Sequence[str]
    model: str | None = None
    kind: str | None = None
    truncation: Truncation | None = None
    field: str = "inputs"


@dataclass(frozen=True, slots=True)
class Weighted:
    """weights: of each text, token id → how much the token matters; those of no weight are left out."""

    spec: Spec
    weights: list[dict[int, float]]
    tokens: int
    truncated: int
    timings: Timings


@dataclass(frozen=True, slots=True)
class MultiVectors:
    """vectors: of each text float32 [tokens - 1, width], unit rows, without the special token it begins with."""

    spec: Spec
    vectors: list[Rows]
    tokens: int
    truncated: int
    timings: Timings


class TokenVectorService:
    """The one way to weights and vectors of tokens, whatever the dialect."""

    def __init__(self, registry: Registry, pool: Pool) -> None:
        self._registry = registry
        self._pool = pool

    async def sparse(self, request: TokenRequest) -> Weighted:
        """Raises ModelNotFound, InvalidRequest for a model without this head, and what loading and running raise."""
        spec, result = await self._infer(request, "sparse")
        weights = [word_weights(*each) for each in zip(result.texts, result.heads["sparse"], strict=True)]
        return Weighted(spec, weights, result.tokens, result.truncated, result.timings)

    async def multi(self, request: TokenRequest) -> MultiVectors:
        """Raises ModelNotFound, InvalidRequest for a model without this head, and what loading and running raise."""
        spec, result = await self._infer(request, "colbert")
        vectors = [rows[1:] for rows in result.heads["colbert"]]
        return MultiVectors(spec, vectors, result.tokens, result.truncated, result.timings)

    async def _infer(self, request: TokenRequest, head: Head) -> tuple[Spec, Inference]:
        spec, kind = self._find(request.model)
        if head not in spec.heads:
            raise InvalidRequest(
                f"The model {spec.name!r} gives no {head} vectors. Models that do: {self._having(head)}", param="model"
            )
        if not request.texts:
            raise InvalidRequest(f"`{request.field}` is an empty list: send at least one text", param=request.field)
        kind = request.kind if request.kind is not None else kind
        prompt = prompt_for(spec, kind)
        passages = [Passage(*with_prompt(prompt, text), field=request.field, kind=kind) for text in request.texts]
        truncation = request.truncation or ("end" if spec.truncate else "none")
        async with self._pool.use(spec) as engine:
            result = await engine.infer(passages, truncation, (head,))
        observe(spec, result)
        return spec, result

    def _find(self, name: str | None) -> tuple[Spec, str | None]:
        return find_model(self._registry, name) if name else (self._registry.default("embedding"), None)

    def _having(self, head: Head) -> str:
        return ", ".join(spec.name for spec in self._registry if head in spec.heads) or "none here"


def word_weights(tokens: Tokens, weights: Rows) -> dict[int, float]:
    """Token id → its largest weight in the text, in the order of the text.

    weights: float32 [tokens], zero for special tokens. As FlagEmbedding's BGEM3 `_process_token_weights`.
    """
    largest: dict[int, float] = {}
    for place in np.flatnonzero(weights > 0).tolist():
        token, weight = tokens.ids[place], float(weights[place])
        if weight > largest.get(token, 0.0):
            largest[token] = weight
    return largest
