"""What a classifier or a reranker makes of texts and pairs: a number for each of its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sekisho.catalog.registry import Registry, Spec
from sekisho.contract import Inference, Passage, Rows, Timings, Truncation
from sekisho.engine.pool import Pool
from sekisho.errors import InvalidRequest
from sekisho.service.embed import observe
from sekisho.service.pairs import Reading, pair_passages
from sekisho.service.rerank import sigmoid

#: A text, or two that are read together.
TextOrPair = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Predicted:
    """scores: float32 [sequences, labels], in the order given; tokens: of all of them; truncated: how many were cut."""

    spec: Spec
    labels: list[str]
    scores: Rows
    tokens: int
    truncated: int
    timings: Timings


async def predict(
    registry: Registry,
    pool: Pool,
    sequences: Sequence[TextOrPair],
    *,
    model: str | None = None,
    truncation: Truncation | None = None,
    raw: bool = False,
) -> Predicted:
    """Probabilities, or the model's own numbers: the sigmoid of one, the softmax of several.

    Raises ModelNotFound, InvalidRequest and whatever loading and running the model raise.
    """
    spec = registry.find(model) if model else registry.default("reranker")
    if spec.kind != "reranker":
        rerankers = ", ".join(each.name for each in registry if each.kind == "reranker") or "none here"
        raise InvalidRequest(
            f"{spec.name!r} is an {spec.kind} model and predicts nothing. Models that do: {rerankers}", param="model"
        )
    passages = [_passage(spec, sequence) for sequence in sequences]
    async with pool.use(spec) as engine:
        result = await engine.infer(passages, truncation or ("end" if spec.truncate else "none"))
    observe(spec, result)
    labels = [f"LABEL_{number}" for number in range(result.rows.shape[1])]
    raw = raw or spec.activation == "none"
    return Predicted(spec, labels, _scores(result, raw=raw), result.tokens, result.truncated, result.timings)


def _passage(spec: Spec, sequence: TextOrPair) -> Passage:
    text, pair = sequence
    if pair is not None:
        return pair_passages(spec, [(text, pair)], Reading(field="inputs"))[0]
    if spec.template is not None or spec.upstream is not None:
        raise InvalidRequest(f"{spec.name!r} reads a query and a text: send pairs", param="inputs")
    return Passage(text, field="inputs")


def _scores(result: Inference, *, raw: bool) -> Rows:
    if raw or result.scored:
        return result.rows
    if result.rows.shape[1] == 1:
        return sigmoid(result.rows)
    powers = np.exp(result.rows - result.rows.max(axis=1, keepdims=True))
    likely: Rows = powers / powers.sum(axis=1, keepdims=True)
    return likely
