"""What clients send to rerank and read of it (their own words, without their packages)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http import expect
from tests.http.conftest import InProcess
from tests.http.reranking import results

DOCUMENTS = ["猫が寝ている", "train station", "city", "train station"]
PATHS = ["/v1/rerank", "/rerank", "/v2/rerank", "/v1/reranks", "/reranking"]
INFINITY = ["/infinity/rerank", "/infinity/v1/rerank"]
BODY: dict[str, Any] = {"query": "station", "documents": DOCUMENTS}


@pytest.mark.parametrize("path", PATHS)
def test_documents_get_an_object_and_texts_a_list(in_process: InProcess, path: str) -> None:
    listed = results(in_process.post(path, json=BODY))
    assert [set(one) for one in listed] == [{"index", "relevance_score"}] * 4
    texts = in_process.post(path, json={"query": "station", "texts": DOCUMENTS}).json()
    assert [(one["index"], one["score"]) for one in texts] == [(o["index"], o["relevance_score"]) for o in listed]
    assert [set(one) for one in texts] == [{"index", "score"}] * 4


@pytest.mark.parametrize("path", [*PATHS, *INFINITY])
def test_documents_come_back_in_the_form_each_client_reads(in_process: InProcess, path: str) -> None:
    response = in_process.post(path, json=BODY | {"return_documents": True, "model": "ranker"})
    for one, other in zip(results(response), response.json()["data"], strict=True):
        text = DOCUMENTS[one["index"]]
        assert one["document"] == (text if path in INFINITY else {"text": text})
        assert other["document"] == text
    assert response.json()["model"] == "ranker"
    assert response.json()["query"] == "station"
    texts = in_process.post(path, json={"query": "a", "texts": DOCUMENTS, "return_text": True}).json()
    assert all(one["text"] == DOCUMENTS[one["index"]] for one in texts)


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({"top_n": 2}, 2),
        ({"top_k": 2}, 2),
        ({"top_n": None, "top_k": 3}, 3),
        ({"top_n": 0}, 4),
        ({"top_n": "0"}, 4),
        ({"top_n": "2"}, 2),
        ({"top_k": None}, 4),
        ({"top_n": 99}, 4),
    ],
)
def test_so_many_of_the_best(in_process: InProcess, given: dict[str, Any], count: int) -> None:
    every = results(in_process.post("/v1/rerank", json=BODY))
    assert results(in_process.post("/v1/rerank", json=BODY | given)) == every[:count]
    texts = in_process.post("/rerank", json={"query": "station", "texts": DOCUMENTS} | given).json()
    assert [one["index"] for one in texts] == [one["index"] for one in every[:count]]


@pytest.mark.parametrize(
    "given",
    [
        # cohere 5 and 7, LangChain's and Haystack's Cohere and Jina, litellm
        {"max_tokens_per_doc": None, "top_n": None, "return_documents": None, "rank_fields": None, "model": None},
        {"max_chunks_per_doc": 10, "priority": 0, "relevant_spans": True, "max_tokens_per_doc": 4096},
        {"raw_scores": False, "return_documents": False, "model": "ranker"},
        # voyageai
        {"top_k": None, "truncation": True, "model": "ranker"},
        # RAGFlow through Xinference
        {"return_len": "true", "drop_params": True},
        # vLLM, Jina
        {"use_activation": True, "truncate_prompt_tokens": -1, "task": None, "modality": "text", "options": {}},
        {"truncate": "END", "instruction": "find", "late_chunking": False, "max_tokens_per_doc": 0},
    ],
)
def test_what_clients_add_changes_nothing(in_process: InProcess, given: dict[str, Any]) -> None:
    plain = results(in_process.post("/v1/rerank", json=BODY))
    assert results(in_process.post("/v1/rerank", json=BODY | given)) == plain


def test_true_in_quotes_is_true(in_process: InProcess) -> None:
    listed = results(in_process.post("/v1/rerank", json=BODY | {"return_documents": "true"}))
    assert all("document" in one for one in listed)
    body = {"query": "station", "texts": DOCUMENTS, "return_text": "True", "raw_scores": "false"}
    assert all("text" in one for one in in_process.post("/rerank", json=body).json())


def test_documents_are_texts_or_objects(in_process: InProcess) -> None:
    plain = results(in_process.post("/v1/rerank", json=BODY))
    mixed: list[Any] = [{"text": DOCUMENTS[0]}, DOCUMENTS[1], {"text": DOCUMENTS[2], "id": 7}, {"text": DOCUMENTS[3]}]
    response = in_process.post("/v1/rerank", json=BODY | {"documents": mixed, "return_documents": True})
    listed = results(response)
    assert [one["index"] for one in listed] == [one["index"] for one in plain]
    by_index = {one["index"]: one["document"] for one in listed}
    assert by_index[2] == {"text": "city", "id": 7}
    assert by_index[1] == {"text": "train station"}
    assert {one["index"]: one["document"] for one in response.json()["data"]}[2] == "city"
    alone = results(in_process.post("/v1/rerank", json={"query": {"text": "station"}, "documents": "city"}))
    assert [one["index"] for one in alone] == [0]


def test_fields_of_objects_are_read_in_the_order_asked(in_process: InProcess) -> None:
    papers: list[Any] = [{"title": "cat", "body": "dog", "year": 2024}, {"body": "city"}, "title: cat"]
    asked = {"query": "a", "return_documents": True, "documents": papers, "rank_fields": ["year", "title", "body"]}
    response = in_process.post("/v1/rerank", json=asked)
    read = {one["index"]: one["document"] for one in response.json()["data"]}
    assert read == {0: "year: 2024\ntitle: cat\nbody: dog", 1: "city", 2: "title: cat"}
    kept = {one["index"]: one["document"] for one in results(response)}
    assert kept[0] == {"text": read[0], "title": "cat", "body": "dog", "year": 2024}
    as_texts = in_process.post("/v1/rerank", json={"query": "a", "documents": [read[0], read[1], read[2]]})
    assert [one["relevance_score"] for one in results(as_texts)] == [o["relevance_score"] for o in results(response)]


@pytest.mark.parametrize(
    ("body", "param", "part"),
    [
        ({"documents": ["a"]}, "query", "`query` is missing"),
        ({"query": None, "documents": ["a"]}, "query", "`query` is missing"),
        ({"query": 5, "documents": ["a"]}, "query", "`query` must be a valid string, not the number 5"),
        ({"query": "a"}, "documents", "`documents` is missing: send a list of texts"),
        ({"query": "a", "documents": None}, "documents", "`documents` is missing"),
        ({"query": "a", "documents": []}, "documents", "`documents` is an empty list: send at least one"),
        ({"query": "a", "documents": 7}, "documents", "`documents` must be a list of texts, not the number 7"),
        ({"query": "a", "documents": ["b", 7]}, "documents", r"documents[1] must be a string or an object with a"),
        ({"query": "a", "documents": [{"image": "x"}]}, "documents", "documents[0] has no `text`: send one"),
        ({"query": "a", "documents": [{"b": 1}], "rank_fields": ["c"]}, "documents", "none of the fields c"),
        ({"query": "a", "documents": ["b"], "top_n": -1}, "top_n", "`top_n` must be greater than or equal to 1"),
        ({"query": "a", "documents": ["b"], "truncate": "MIDDLE"}, "truncate", "`truncate` must be true, false"),
        ({"query": "a", "documents": ["b"], "return_documents": "maybe"}, "return_documents", "valid boolean"),
    ],
)
def test_what_is_wrong_is_named(in_process: InProcess, body: dict[str, Any], param: str, part: str) -> None:
    assert part in expect.failed(in_process.post("/v1/rerank", json=body), 400, "invalid_request", param)


@pytest.mark.parametrize("texts", [[], [5], "", 5])
def test_errors_of_texts_are_in_their_shape(in_process: InProcess, texts: object) -> None:
    response = in_process.post("/rerank", json={"query": 5 if texts == "" else "a", "texts": texts})
    expect.failed(response, 400, "invalid_request", tei=True)


def test_the_routes_are_documented(in_process: InProcess) -> None:
    paths = in_process.get("/openapi.json").json()["paths"]
    for path in ("/v1/rerank", "/infinity/rerank", "/v1/score"):
        operation = paths[path]["post"]
        assert operation["requestBody"]["content"]["application/json"]["example"]
        assert operation["responses"]["200"]["content"]["application/json"]["schema"]
