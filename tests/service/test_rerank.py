"""Pairs through the whole road: registry, conversion, tokenizer, queue, logits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from sekisho.assemble import Parts, assemble
from sekisho.errors import InvalidRequest
from sekisho.service.embed import EmbedRequest
from sekisho.service.rerank import Scored, sigmoid
from sekisho.settings import Settings
from tests.checkpoints_encoders import TINY_ENCODERS, TinyEncoder, write_tiny_encoder
from tests.goldens.encoders import load_golden, sample_pairs

RERANKERS = [spec for spec in TINY_ENCODERS if spec.kind == "reranker" and load_golden(spec).outputs.shape[1] == 1]


@pytest.fixture(scope="module", params=RERANKERS, ids=lambda spec: spec.name)
def spec(request: pytest.FixtureRequest) -> TinyEncoder:
    chosen: TinyEncoder = request.param
    return chosen


@pytest.fixture
def parts(spec: TinyEncoder, tmp_path: Path) -> Parts:
    write_tiny_encoder(spec, tmp_path / "checkpoint")
    family = f"    family: {spec.family}\n" if spec.family else ""
    (tmp_path / "models.yaml").write_text(
        "version: 1\ndefaults: {reranker: tiny}\nmodels:\n  - name: tiny\n    kind: reranker\n"
        f"    source: {{path: checkpoint}}\n    max_tokens: {spec.limit}\n{family}",
        "utf-8",
    )
    return assemble(Settings(models=tmp_path / "models.yaml", home=tmp_path / "home", engine="onnxruntime"))


async def score_all(parts: Parts) -> list[Scored]:
    """Each query with all of its documents, the queries at once."""
    documents: dict[str, list[str]] = {}
    for query, document in sample_pairs():
        documents.setdefault(query, []).append(document)
    try:
        return await asyncio.gather(*(parts.rerank.score(None, query, own) for query, own in documents.items()))
    finally:
        await parts.pool.close()


def test_scores_equal_the_golden(parts: Parts, spec: TinyEncoder) -> None:
    scored = asyncio.run(score_all(parts))
    by_query: dict[str, list[float]] = {}
    for (query, _), logit in zip(sample_pairs(), load_golden(spec).outputs[:, 0], strict=True):
        by_query.setdefault(query, []).append(float(logit))
    for one, expected in zip(scored, by_query.values(), strict=True):
        np.testing.assert_allclose(one.logits, expected, rtol=1e-4, atol=1e-5)
    golden = load_golden(spec)
    assert sum(one.tokens for one in scored) == sum(len(sequence.ids) for sequence in golden.inputs)


def test_no_documents_and_no_reranker_are_refused(parts: Parts) -> None:
    async def refused() -> None:
        try:
            with pytest.raises(InvalidRequest, match="empty list"):
                await parts.rerank.score(None, "a", [])
            with pytest.raises(InvalidRequest, match="is a reranker"):
                await parts.embed.embed(_embed_request())
        finally:
            await parts.pool.close()

    asyncio.run(refused())


def _embed_request() -> EmbedRequest:
    return EmbedRequest(["a"], model="tiny")


def test_sigmoid_does_not_overflow() -> None:
    scores = sigmoid(np.array([-1000.0, -1.0, 0.0, 1.0, 1000.0], np.float32))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [0.0, 0.26894143, 0.5, 0.7310586, 1.0], rtol=1e-6)
