"""Open WebUI, Dify and RAGFlow: the requests they build and every field they read, as their sources have them.

From reading Open WebUI's retrieval utilities, dify-official-plugins 7af22831 with dify_plugin 0.7.4, and RAGFlow
b1b8cd6235; docs/clients.md tells what to set in each.
"""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from tests.http import expect
from tests.http.conftest import KEYS
from tests.http.live import Server

TEXTS = ["動的計画法の入門", "猫は公園で寝ている", "the train station"]
QUERY = "猫はどこ"


@pytest.fixture(scope="module")
def rows(server: Server) -> np.ndarray:
    return expect.vectors(server.embed(input=TEXTS))


@pytest.fixture(scope="module")
def scores(server: Server) -> list[float]:
    """Of each text by its index, from the plain route."""
    answer = server.client.post("/v1/rerank", json={"query": QUERY, "documents": TEXTS}).json()
    by_index = {each["index"]: each["relevance_score"] for each in answer["results"]}
    assert sorted(by_index) == [0, 1, 2]
    assert len(set(by_index.values())) == 3
    return [by_index[index] for index in range(3)]


def ok(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def equal(vectors: Any, rows: np.ndarray) -> None:
    assert all(isinstance(number, float) for vector in vectors for number in vector)
    np.testing.assert_array_equal(np.array(vectors, np.float32), rows)


# --- Open WebUI ---


@pytest.mark.parametrize("prefix", [{}, {"input_type": "query"}, {"input_type": None}])
def test_open_webui_embeds(server: Server, rows: np.ndarray, prefix: dict[str, Any]) -> None:
    body = {"input": TEXTS, "model": "tiny"} | prefix
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-none"}
    data = ok(server.client.post("/v1/embeddings", json=body, headers=headers))
    assert "data" in data
    expected = expect.vectors(server.embed(input=TEXTS, input_type=prefix.get("input_type")))
    equal([element["embedding"] for element in data["data"]], expected)


def test_open_webui_with_azures_engine(keyed: Server, rows: np.ndarray) -> None:
    body = {"input": TEXTS, "model": "tiny"}
    url = "/openai/deployments/tiny/embeddings?api-version=2024-10-21"
    data = ok(keyed.client.post(url, json=body, headers={"api-key": KEYS[0]}))
    equal([element["embedding"] for element in data["data"]], rows)
    expect.failed(keyed.client.post(url, json=body, headers={"api-key": "wrong"}), 401, "invalid_api_key")


def test_open_webui_reranks_and_reads_all_of_them(server: Server, scores: list[float]) -> None:
    """ExternalReranker: it sorts the results by index and takes the scores."""
    body = {"model": "ranker", "query": QUERY, "documents": TEXTS, "top_n": len(TEXTS)}
    data = ok(server.client.post("/v1/rerank", json=body))
    ordered = sorted(data["results"], key=lambda each: each["index"])
    assert [each["relevance_score"] for each in ordered] == scores


def test_open_webui_never_takes_us_for_tei(server: Server, scores: list[float]) -> None:
    """One variant goes over to TEI's body for good once it sees a 422."""
    refused = server.client.post("/v1/rerank", json={"model": "ranker", "query": QUERY, "documents": []})
    assert refused.status_code == 400
    ranked = ok(server.client.post("/rerank", json={"query": QUERY, "texts": TEXTS, "truncate": True}))
    assert {each["index"]: each["score"] for each in ranked} == dict(enumerate(scores))


# --- Dify ---


@pytest.mark.parametrize("authorization", ["", "Bearer x"])
def test_dify_openai_api_compatible_embeds(server: Server, rows: np.ndarray, authorization: str) -> None:
    body = {"model": "tiny", "input": TEXTS}
    headers = {"Content-Type": "application/json", "Authorization": authorization}
    data = ok(server.client.post("/v1/embeddings", json=body, headers=headers))
    equal([each["embedding"] for each in data["data"]], rows)
    assert data["usage"]["total_tokens"] == sum(len(each) for each in _tokens(server, TEXTS))


def test_dify_sdk_checks_the_model_by_a_ping(server: Server) -> None:
    data = ok(server.client.post("/v1/embeddings", json={"input": "ping", "model": "tiny", "encoding_format": "float"}))
    assert data["model"] == "tiny"
    equal([data["data"][0]["embedding"]], expect.vectors(server.embed(input="ping")))
    assert data["usage"]["prompt_tokens"] == data["usage"]["total_tokens"] > 0


def test_dify_tei_embeds(server: Server, rows: np.ndarray) -> None:
    """It asks what the server is, counts tokens by /tokenize, and names no model."""
    info = ok(server.client.get("/info"))
    assert list(info["model_type"]) == ["embedding"]
    assert isinstance(info["max_input_length"], int)
    assert isinstance(info["max_client_batch_size"], int)
    tokens = ok(server.client.post("/tokenize", json={"inputs": TEXTS}))
    assert [len(each) for each in tokens] == [len(each) for each in _tokens(server, TEXTS)]
    data = ok(server.client.post("/v1/embeddings", json={"input": TEXTS}))
    equal([each["embedding"] for each in data["data"]], rows)
    assert data["usage"]["total_tokens"] == sum(map(len, tokens))


def test_dify_tei_reranks(server: Server, scores: list[float]) -> None:
    info = ok(server.client.get("/m/ranker/info"))
    assert list(info["model_type"]) == ["reranker"]
    body = {"query": QUERY, "texts": TEXTS, "return_text": True}
    results = ok(server.client.post("/m/ranker/rerank", json=body))
    assert [each["text"] for each in results] == [TEXTS[each["index"]] for each in results]
    assert {each["index"]: each["score"] for each in results} == dict(enumerate(scores))


def test_dify_jina_embeds(server: Server) -> None:
    """Of some models each text is an object, and `task` is the kind."""
    body = {"model": "tiny", "input": [{"text": text} for text in TEXTS], "task": "retrieval.passage"}
    data = ok(server.client.post("/v1/embeddings", json=body))
    equal(
        [each["embedding"] for each in data["data"]], expect.vectors(server.embed(input=TEXTS, input_type="document"))
    )
    assert data["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("documents", [TEXTS, [{"text": text} for text in TEXTS]])
def test_dify_jina_reranks(server: Server, scores: list[float], documents: list[Any]) -> None:
    body = {"model": "ranker", "query": QUERY, "documents": documents, "top_n": 2, "return_documents": False}
    results = ok(server.client.post("/v1/rerank", json=body))["results"]
    assert len(results) == 2
    assert all("document" not in each for each in results)
    assert [each["relevance_score"] for each in results] == sorted(scores, reverse=True)[:2]


@pytest.mark.parametrize("top_n", [0, None, 3])
def test_dify_openai_api_compatible_reranks(server: Server, scores: list[float], top_n: int | None) -> None:
    """The SDK's base class: documents wanted, all of them, and scores that it rescales to lie between 0 and 1."""
    body = {"model": "ranker", "query": QUERY, "documents": TEXTS, "top_n": top_n, "return_documents": True}
    results = ok(server.client.post("/v1/rerank", json=body))["results"]
    found = [each["relevance_score"] for each in results]
    low, high = min(found), max(found)
    assert high > low
    for each in results:
        assert each["document"]["text"] == TEXTS[each["index"]]
        assert each["relevance_score"] == scores[each["index"]]


def test_dify_localai_and_gpustack_rerank(server: Server, scores: list[float]) -> None:
    """`result["document"]["text"]` wherever the key is there, so it is never null."""
    for wanted in (True, False, None):
        body = {"model": "ranker", "query": QUERY, "documents": TEXTS, "top_n": 3}
        answer = ok(server.client.post("/v1/rerank", json=body | {"return_documents": wanted}))
        for result in answer["results"]:
            text = result["document"]["text"] if "document" in result else TEXTS[result["index"]]
            assert text == TEXTS[result["index"]]
            assert ("document" in result) == bool(wanted)
            assert result["relevance_score"] == scores[result["index"]]


def test_dify_voyage(server: Server, rows: np.ndarray, scores: list[float]) -> None:
    body = {"model": "ranker", "query": QUERY, "documents": TEXTS, "top_k": 2, "return_documents": True}
    answer = ok(server.client.post("/v1/rerank", json=body))
    assert len(answer["data"]) == 2
    for each in answer["data"]:
        assert each["document"] == TEXTS[each["index"]]
        assert each["relevance_score"] == scores[each["index"]]
    assert answer["usage"]["total_tokens"] > 0
    embedded = ok(server.client.post("/v1/embeddings", json={"model": "tiny", "input": TEXTS, "input_type": None}))
    equal([each["embedding"] for each in embedded["data"]], rows)


def test_dify_cohere_reranks(server: Server, scores: list[float]) -> None:
    body = {"query": QUERY, "documents": TEXTS, "model": "ranker", "top_n": 3, "return_documents": True}
    answer = ok(server.client.post("/v1/rerank", json=body))
    for result in answer["results"]:
        assert result["document"]["text"] == TEXTS[result["index"]]
        assert result["relevance_score"] == scores[result["index"]]


# --- RAGFlow ---


def test_ragflow_openai_compatible_embeds_and_sorts_by_index(server: Server, rows: np.ndarray) -> None:
    body = {"input": TEXTS, "model": "tiny", "encoding_format": "float", "drop_params": True}
    data = ok(server.client.post("/v1/embeddings", json=body))
    ordered = sorted(data["data"], key=lambda each: each["index"])
    equal([each["embedding"] for each in ordered], rows)
    assert data["usage"]["total_tokens"] > 0


def test_ragflow_localai_and_xinference_embed_in_base64(server: Server, rows: np.ndarray) -> None:
    body = {"input": TEXTS, "model": "tiny", "encoding_format": "base64"}
    data = ok(server.client.post("/v1/embeddings", json=body))["data"]
    decoded = [np.frombuffer(base64.b64decode(each["embedding"]), np.float32) for each in data]
    np.testing.assert_array_equal(np.stack(decoded), rows)


def test_ragflow_huggingface_embeds(server: Server, rows: np.ndarray) -> None:
    """No `truncate`, so that a long text has to be cut unasked; of a single text it reads `[0]`."""
    headers = {"Content-Type": "application/json"}
    equal(ok(server.client.post("/embed", json={"inputs": TEXTS}, headers=headers)), rows)
    vector = ok(server.client.post("/embed", json={"inputs": TEXTS[0]}, headers=headers))[0]
    np.testing.assert_allclose(np.array(vector), rows[0], atol=1e-6)
    long = server.client.post("/embed", json={"inputs": "the cat " * 4000}, headers=headers)
    assert len(ok(long)[0]) == 40


def test_ragflow_jina_and_its_like_rerank(server: Server, scores: list[float]) -> None:
    for path in ("/v1/rerank", "/rerank"):
        body = {"model": "ranker", "query": QUERY, "documents": TEXTS, "top_n": len(TEXTS)}
        _ragflow_reads(ok(server.client.post(path, json=body)), scores)


def test_ragflow_xinference_reranks_with_words_for_true(server: Server, scores: list[float]) -> None:
    body = {"model": "ranker", "query": QUERY, "documents": TEXTS, "return_documents": "true", "return_len": "true"}
    answer = ok(server.client.post("/v1/rerank", json=body))
    _ragflow_reads(answer, scores)
    assert all(each["document"]["text"] == TEXTS[each["index"]] for each in answer["results"])


def test_ragflow_huggingface_reranks_eight_at_a_time(server: Server) -> None:
    texts = [f"{text} {number}" for number in range(7) for text in TEXTS]
    found = np.zeros(len(texts))
    for start in range(0, len(texts), 8):
        batch = texts[start : start + 8]
        body = {"query": QUERY, "texts": batch, "raw_scores": False, "truncate": True}
        for each in ok(server.client.post("/rerank", json=body)):
            found[each["index"] + start] = each["score"]
    whole = ok(server.client.post("/v1/rerank", json={"query": QUERY, "documents": texts}))["results"]
    expected = [each["relevance_score"] for each in sorted(whole, key=lambda each: each["index"])]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def _ragflow_reads(answer: Any, scores: list[float]) -> None:
    """A rank array filled by index; scores outside 0 to 1 would be rescaled."""
    rank = np.zeros(len(scores))
    for each in answer["results"]:
        rank[each["index"]] = each["relevance_score"]
    np.testing.assert_array_equal(rank, scores)
    assert 0 <= rank.min() <= rank.max() <= 1
    assert answer["usage"]["total_tokens"] > 0


def _tokens(server: Server, texts: list[str]) -> list[Any]:
    each = [server.embed(input=text).json()["usage"]["prompt_tokens"] for text in texts]
    return [range(count) for count in each]
