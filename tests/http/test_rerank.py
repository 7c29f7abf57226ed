"""Reranking against transformers' scores, over the wire."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.goldens.corpus import load_texts
from tests.goldens.rerank import QUERY, RERANKERS, load_golden
from tests.goldens_io import load_golden as load_vectors
from tests.http import expect
from tests.http.live import Server
from tests.http.reranking import DEFAULT, DOCUMENT_PROMPT, MEAN, QUERY_PROMPT, documents_of, reranking, results, scores

NAMES = [spec.name for spec in RERANKERS]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reranking")


@pytest.fixture(scope="module")
def live(directory: Path) -> Iterator[Server]:
    with reranking(directory) as server:
        yield server


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64))))


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_transformers(live: Server, directory: Path, name: str) -> None:
    """Documents of every kind and length: empty, at the limit and over it, where the query stays whole."""
    golden, texts = load_golden(name), documents_of(directory, name)
    response = live.client.post("/v1/rerank", json={"model": name, "query": QUERY, "documents": texts})
    np.testing.assert_allclose(scores(response), sigmoid(golden.logits), atol=1e-4)
    assert response.json()["usage"]["total_tokens"] == sum(golden.lengths)
    limit = next(spec.limit for spec in RERANKERS if spec.name == name)
    cut = int(response.headers["x-sekisho-truncated"])
    assert cut == golden.lengths.count(limit) - 1  # one pair fills the model and is not cut
    raw = live.client.post("/rerank", json={"model": name, "query": QUERY, "documents": texts, "raw_scores": True})
    np.testing.assert_allclose(scores(raw), golden.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_thousand_documents_are_one_request(live: Server, directory: Path, name: str) -> None:
    golden, texts = load_golden(name), documents_of(directory, name)
    picked = random.Random(5).choices(range(len(texts)), k=1000)
    body = {"model": name, "query": QUERY, "documents": [texts[place] for place in picked]}
    first, second = (live.client.post("/v1/rerank", json=body) for _ in range(2))
    np.testing.assert_allclose(scores(first), sigmoid(golden.logits)[picked], atol=1e-4)
    assert first.json()["usage"]["total_tokens"] == sum(golden.lengths[place] for place in picked)
    assert [one["index"] for one in results(first)] == [one["index"] for one in results(second)]
    assert first.json()["meta"]["billed_units"] == {"search_units": 10}


def test_equal_documents_have_equal_scores_and_keep_their_order(live: Server, directory: Path) -> None:
    texts = documents_of(directory, DEFAULT.name)[:12]
    listed = results(live.client.post("/v1/rerank", json={"query": QUERY, "documents": texts * 9}))
    for place in range(12):
        own = [one for one in listed if one["index"] % 12 == place]
        assert len({one["relevance_score"] for one in own}) == 1
        assert [one["index"] for one in own] == sorted(one["index"] for one in own)


def test_saturated_scores_are_ordered_by_their_logits(live: Server) -> None:
    """The ranks of raw scores and of sigmoids are the same, whatever float32 leaves of the difference."""
    texts = load_texts()[:80]
    body = {"query": "cat", "documents": texts}
    orders = [
        [one["index"] for one in results(live.client.post("/v1/rerank", json=body | {"raw_scores": raw}))]
        for raw in (True, False)
    ]
    assert orders[0] == orders[1]


def test_the_registry_can_ask_for_logits(live: Server) -> None:
    body = {"query": QUERY, "documents": load_texts()[:9]}
    logits = scores(live.client.post("/v1/rerank", json=body | {"model": "logits"}))
    np.testing.assert_allclose(
        logits, scores(live.client.post("/v1/rerank", json=body | {"raw_scores": True})), atol=1e-5
    )
    assert logits.min() < 0  # which no sigmoid is


def test_an_embedding_model_ranks_by_cosine(live: Server) -> None:
    golden, texts = load_vectors(MEAN).vectors, load_texts()
    body = {"model": "vectors", "query": texts[7], "documents": texts[:40]}
    response = live.client.post("/v1/rerank", json=body)
    np.testing.assert_allclose(scores(response), golden[:40] @ golden[7], atol=1e-4)
    lengths = list(map(len, load_vectors(MEAN).ids))
    assert response.json()["usage"]["total_tokens"] == sum(lengths[:40]) + lengths[7]


def test_an_embedding_model_ranks_with_its_own_prompts(live: Server) -> None:
    texts = load_texts()[:20]
    given = [QUERY_PROMPT + texts[3], *(DOCUMENT_PROMPT + text for text in texts)]
    rows = expect.vectors(live.embed(model="vectors", input=given))
    response = live.client.post("/v1/rerank", json={"model": "prompted", "query": texts[3], "documents": texts})
    np.testing.assert_allclose(scores(response), rows[1:] @ rows[0], atol=1e-5)
    told = ["Instruct: find Query: " + texts[3], *texts]
    rows = expect.vectors(live.embed(model="vectors", input=told))
    body = {"model": "told", "query": texts[3], "documents": texts, "instruction": "find"}
    np.testing.assert_allclose(scores(live.client.post("/v1/rerank", json=body)), rows[1:] @ rows[0], atol=1e-5)


def test_only_so_much_of_each_document_is_read(live: Server) -> None:
    texts = ["cat dog man", "cat dog", "cat", ""]
    few = {"query": "city", "max_tokens_per_doc": 2}
    response = live.client.post("/v1/rerank", json=few | {"documents": texts})
    short = live.client.post("/v1/rerank", json={"query": "city", "documents": ["cat dog", "cat dog", "cat", ""]})
    np.testing.assert_allclose(scores(response), scores(short), atol=1e-6)
    assert response.headers["x-sekisho-truncated"] == "1"
    assert response.json()["usage"] == short.json()["usage"]
    vectors = live.client.post("/v1/rerank", json=few | {"model": "vectors", "documents": texts})
    assert scores(vectors)[0] == pytest.approx(scores(vectors)[1], abs=1e-6)


def test_what_is_too_long_is_refused_where_that_is_asked(live: Server) -> None:
    texts = ["a", "a " * 400]
    for body in ({"truncate": False}, {"truncate": "NONE"}, {"truncation": False}, {"model": "strict"}):
        response = live.client.post("/v1/rerank", json={"query": "b", "documents": texts} | body)
        message = expect.failed(response, 400, "input_too_long", "documents")
        assert message.startswith("documents[1] and the query are 404 tokens long and the model reads 128")
    tei = live.client.post("/rerank", json={"query": "b", "texts": texts, "truncate": False})
    assert expect.failed(tei, 400, "input_too_long", tei=True).startswith("texts[1] and the query are 404 tokens")
    long_query = {"model": "vectors", "query": "a " * 600, "documents": ["a"], "truncate": False}
    response = live.client.post("/v1/rerank", json=long_query)
    assert expect.failed(response, 400, "input_too_long", "query").startswith("`query` is 602 tokens long")


def test_either_end_can_be_cut(live: Server) -> None:
    document = "cat " * 200 + "dog " * 200
    kept = {"START": "dog ", "END": "cat "}
    for end, word in kept.items():
        response = live.client.post("/v1/rerank", json={"query": "a", "documents": [document], "truncate": end})
        alone = live.client.post("/v1/rerank", json={"query": "a", "documents": [word * 400]})
        assert scores(response)[0] == pytest.approx(scores(alone)[0], abs=1e-6)
    left = {"query": "a", "texts": [document], "truncate": True, "truncation_direction": "Left"}
    both = {"query": "a", "texts": ["dog " * 400]}
    listed = [live.client.post("/rerank", json=body).json() for body in (left, both)]
    assert listed[0][0]["score"] == pytest.approx(listed[1][0]["score"], abs=1e-6)


def test_models_that_do_not_rank_are_refused(live: Server) -> None:
    body = {"query": "a", "documents": ["b"]}
    response = live.client.post("/v1/rerank", json=body | {"model": "classifier"})
    message = expect.failed(response, 400, "invalid_request", "model")
    assert message.startswith("'classifier' gives 3 scores a pair: it classifies, it does not rank")
    expect.failed(live.client.post("/v1/rerank", json=body | {"model": "nothing"}), 404, "model_not_found", "model")
