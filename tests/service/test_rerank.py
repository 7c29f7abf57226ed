"""Pairs through the whole road: registry, conversion, tokenizer, queue, logits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sekisho.assemble import Parts, assemble
from sekisho.catalog.registry import load_registry
from sekisho.contract import Inference, Passage, Timings
from sekisho.engine.engine import LocalEngine
from sekisho.errors import InvalidRequest
from sekisho.service.embed import EmbedRequest
from sekisho.service.rerank import Scored, sigmoid
from sekisho.service.similarity import Similar, similarity
from sekisho.settings import Settings
from tests.checkpoints_encoders import TINY_ENCODERS, TinyEncoder, write_tiny_encoder
from tests.conftest import REPOSITORY
from tests.goldens.corpus import load_texts
from tests.goldens.encoders import load_golden, sample_pairs
from tests.goldens_io import load_golden as load_vectors

RERANKERS = [spec for spec in TINY_ENCODERS if spec.kind == "reranker" and load_golden(spec).outputs.shape[1] == 1]

RANKER = load_registry(REPOSITORY / "models.yaml").default("reranker")


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
    home = tmp_path / "home"
    return assemble(Settings(models=tmp_path / "models.yaml", home=home, engine="onnxruntime", cache_mib=0))


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


def test_equal_pairs_are_read_once_and_counted_as_often_as_sent(
    parts: Parts, spec: TinyEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    infer = LocalEngine.infer

    async def counting(self: LocalEngine, passages: Sequence[Passage], *rest: Any) -> Inference:
        read.append(len(passages))
        return await infer(self, passages, *rest)

    monkeypatch.setattr(LocalEngine, "infer", counting)

    async def scenario() -> tuple[Scored, Scored]:
        try:
            once = await parts.rerank.score(None, "a b", ["cat", "", "a " * 300])
            return once, await parts.rerank.score(None, "a b", ["", "cat", "", "a " * 300, "cat", "a " * 300])
        finally:
            await parts.pool.close()

    once, often = asyncio.run(scenario())
    assert read == [3, 3]
    np.testing.assert_array_equal(often.logits, often.logits[[0, 1, 0, 3, 1, 3]])
    # Pairs in another order: ONNX Runtime's fp32 adds up a token's row by where it stands in the batch.
    np.testing.assert_allclose(often.logits, once.logits[[1, 0, 1, 2, 0, 2]], rtol=0, atol=1e-6)
    assert often.tokens == 2 * once.tokens
    assert (once.truncated, often.truncated) == (1, 2)


def test_the_best_come_first_and_equals_as_they_came() -> None:
    """At 30 and above the sigmoid is 1 in float32: the logits tell them apart."""
    scored = Scored(RANKER, np.array([30, 1, 40, -200, 1, 35, -300], np.float32), 0, 0, Timings())
    assert scored.order() == [2, 5, 0, 1, 4, 3, 6]
    assert scored.order(0) == scored.order(99) == scored.order()
    assert scored.order(2) == [2, 5]
    assert scored.scores()[[0, 2, 5]].tolist() == [1, 1, 1]
    assert scored.scores().dtype == np.float32
    assert scored.scores(raw=True).tolist() == scored.logits.tolist()


def test_scores_that_are_final_are_left_alone() -> None:
    values = np.array([0.5, -0.25], np.float32)
    assert Scored(RANKER, values, 0, 0, Timings(), final=True).scores().tolist() == [0.5, -0.25]
    plain = RANKER.model_copy(update={"activation": "none"})
    assert Scored(plain, values, 0, 0, Timings()).scores().tolist() == [0.5, -0.25]
    assert Scored(RANKER, values, 0, 0, Timings()).scores()[0] == pytest.approx(0.62245935)


def test_similarities_are_cosines_under_one_prompt(minilm_home: Path, tiny_registry: Path) -> None:
    texts, golden = load_texts()[:30], load_vectors("tiny-bert-mean").vectors

    async def scenario() -> tuple[Similar, Similar, Similar]:
        parts = assemble(Settings(models=tiny_registry, home=minilm_home, engine="onnxruntime"))
        try:
            plain = await similarity(parts.embed, texts[4], texts)
            rows = (await parts.embed.embed(EmbedRequest(texts, kind="query"))).rows
            asked = await similarity(parts.embed, texts[4], texts, kind="query")
            np.testing.assert_allclose(asked.cosines, rows @ rows[4], atol=1e-5)
            return plain, asked, await similarity(parts.embed, "a", ["a " * 600], truncation="end")
        finally:
            await parts.pool.close()

    plain, asked, cut = asyncio.run(scenario())
    np.testing.assert_allclose(plain.cosines, golden[:30] @ golden[4], atol=1e-5)
    assert plain.cosines[4] == pytest.approx(1, abs=1e-6)
    assert asked.tokens > plain.tokens
    assert (plain.truncated, cut.truncated) == (0, 1)


def _embed_request() -> EmbedRequest:
    return EmbedRequest(["a"], model="tiny")


def test_sigmoid_does_not_overflow() -> None:
    scores = sigmoid(np.array([-1000.0, -1.0, 0.0, 1.0, 1000.0], np.float32))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [0.0, 0.26894143, 0.5, 0.7310586, 1.0], rtol=1e-6)
