"""Reranking elsewhere: the same routes and shapes as for a model of this process."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.http.expect import is_the_one_error_body
from tests.upstream.gateway import Gateway, entry
from tests.upstream.service import started
from tests.upstream.wire import WIRES, count, logit, score, vector

MakeGateway = Callable[..., Gateway]
KINDS = sorted(WIRES)
QUERY = "東京駅"
DOCUMENTS = ["丸の内にある", "猫は寝ている", "", "丸の内にある", "x" * 200]
#: As the service sees them, which most do not take an empty text.
SCORES = {text: score(QUERY, text or " ") for text in DOCUMENTS}


def scores_of(kind: str) -> list[float]:
    blank = "" if kind == "sekisho" else " "
    return [score(QUERY, text or blank) for text in DOCUMENTS]


@pytest.mark.parametrize("kind", KINDS)
def test_documents_by_relevance(gateway: MakeGateway, kind: str) -> None:
    with started(kind) as service:
        front = gateway(entry(kind, service.url, kind="reranker"))
        answer = front.post("/v1/rerank", model="far", query=QUERY, documents=DOCUMENTS, return_documents=True)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    expected = scores_of(kind)
    order = sorted(range(len(DOCUMENTS)), key=lambda i: -expected[i])
    assert [result["index"] for result in body["results"]] == order
    found = [result["relevance_score"] for result in body["results"]]
    assert found == pytest.approx([expected[i] for i in order], abs=1e-6), "not the sigmoid of a score"
    assert [result["document"]["text"] for result in body["results"]] == [DOCUMENTS[i] for i in order]
    assert [one["index"] for one in body["data"]] == order
    texts = {text or ("" if kind == "sekisho" else " ") for text in DOCUMENTS}
    assert body["usage"]["total_tokens"] == (0 if kind == "cohere" else count(*texts))


@pytest.mark.parametrize("kind", KINDS)
def test_texts_in_the_shape_of_tei(gateway: MakeGateway, kind: str) -> None:
    with started(kind) as service:
        front = gateway(entry(kind, service.url, kind="reranker"))
        ranks = front.post("/rerank", model="far", query=QUERY, texts=DOCUMENTS[:2]).json()
        best = front.post("/v2/rerank", model="far", query=QUERY, documents=DOCUMENTS, top_n=1).json()["results"]
        scores = front.post("/score", model="far", text_1=QUERY, text_2=DOCUMENTS[:2]).json()["data"]
    by_place = {rank["index"]: rank["score"] for rank in ranks}
    assert [by_place[0], by_place[1]] == pytest.approx([SCORES[text] for text in DOCUMENTS[:2]], abs=1e-6)
    assert len(best) == 1
    assert best[0]["relevance_score"] == pytest.approx(max(scores_of(kind)), abs=1e-6)
    assert [one["score"] for one in scores] == pytest.approx([SCORES[text] for text in DOCUMENTS[:2]], abs=1e-6)


def test_raw_scores_are_logits_where_the_service_gives_them(gateway: MakeGateway) -> None:
    found = {}
    for kind in ("tei", "jina"):
        with started(kind) as service:
            front = gateway(entry(kind, service.url, kind="reranker"))
            body = {"model": "far", "query": QUERY, "documents": DOCUMENTS[:1], "raw_scores": True}
            found[kind] = front.post("/rerank", **body).json()["results"][0]["relevance_score"]
    assert found["tei"] == np.float32(logit(QUERY, DOCUMENTS[0]))
    assert found["jina"] == pytest.approx(SCORES[DOCUMENTS[0]]), "it has nothing else to give"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("faults", "status", "code", "calls"),
    [
        (["401"], 502, "upstream_refused", 1),
        (["429 9"], 429, "upstream_limited", 1),
        (["500"], 200, "", 2),
        (["drop", "html"], 200, "", 3),
        (["empty"] * 9, 502, "upstream_failed", 3),
        (["short"] * 9, 502, "upstream_failed", 3),
        (["drip"] * 9, 504, "upstream_timeout", 1),
    ],
)
def test_what_a_client_sees_where_it_goes_wrong(
    gateway: MakeGateway, kind: str, faults: list[str], status: int, code: str, calls: int
) -> None:
    with started(kind, stalls=2.0) as service:
        front = gateway(entry(kind, service.url, kind="reranker", timeout="1s" if status == 504 else "10s"))
        service.faults.extend(faults)
        answer = front.post("/v1/rerank", model="far", query=QUERY, documents=DOCUMENTS[:2])
        assert len(service.calls) == calls
    assert answer.status_code == status, answer.text
    if status != 200:
        assert is_the_one_error_body(answer)
        assert answer.json()["error"]["code"] == code


def test_a_thousand_documents_are_one_request(gateway: MakeGateway) -> None:
    documents = [f"document {i}" for i in range(1000)]
    with started("tei") as service:
        front = gateway(entry("tei", service.url, kind="reranker"))
        results = front.post("/v1/rerank", model="far", query=QUERY, documents=documents).json()["results"]
    found = {result["index"]: result["relevance_score"] for result in results}
    assert [found[i] for i in range(1000)] == pytest.approx([score(QUERY, text) for text in documents], abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "asking", "holding"), [("cohere", "search_query", "search_document"), ("tei", "", "")]
)
def test_an_embedding_model_elsewhere_ranks_too(gateway: MakeGateway, kind: str, asking: str, holding: str) -> None:
    with started(kind) as service:
        front = gateway(entry(kind, service.url))
        results = front.post("/rerank", model="far", query=QUERY, documents=DOCUMENTS[:2]).json()["results"]
    found = {result["index"]: result["relevance_score"] for result in results}
    query = vector(QUERY, kind=asking)
    cosines = [float(vector(text, kind=holding) @ query) for text in DOCUMENTS[:2]]
    assert [found[0], found[1]] == pytest.approx(cosines, abs=1e-5)
