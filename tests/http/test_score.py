"""vLLM's /score: one text with many, pairs by place, cross-encoders and embedding models."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.http import expect
from tests.http.conftest import InProcess
from tests.http.reranking import results

TEXTS = ["cat", "train station", "東京駅"]


def scored(response: httpx.Response) -> list[float]:
    assert response.status_code == 200, response.text[:500]
    assert float(response.headers["x-total-ms"]) >= 0
    body = response.json()
    assert set(body) == {"id", "object", "created", "model", "data", "usage"}
    assert body["object"] == "list"
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] > 0
    assert [(one["index"], one["object"]) for one in body["data"]] == [(n, "score") for n in range(len(body["data"]))]
    return [one["score"] for one in body["data"]]


def ranked(in_process: InProcess, query: str, documents: list[str], **rest: Any) -> list[float]:
    response = in_process.post("/v1/rerank", json={"query": query, "documents": documents} | rest)
    listed = results(response)
    return [one["relevance_score"] for one in sorted(listed, key=lambda one: int(one["index"]))]


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize(
    ("first", "second"), [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")]
)
def test_one_text_with_many(in_process: InProcess, path: str, first: str, second: str) -> None:
    expected = ranked(in_process, "station", TEXTS)
    for one in ("station", ["station"], {"text": "station"}):
        response = in_process.post(path, json={first: one, second: TEXTS, "model": None, "priority": 0})
        assert scored(response) == pytest.approx(expected, abs=1e-6)
    alone = in_process.post(path, json={first: "station", second: TEXTS[1]})
    assert scored(alone) == pytest.approx(expected[1:2], abs=1e-6)


def test_pairs_by_their_place(in_process: InProcess) -> None:
    queries = ["a", "station", "a"]
    expected = [ranked(in_process, query, [text])[0] for query, text in zip(queries, TEXTS, strict=True)]
    assert scored(in_process.post("/score", json={"text_1": queries, "text_2": TEXTS})) == pytest.approx(
        expected, abs=1e-6
    )


def test_an_embedding_model_gives_cosines(in_process: InProcess) -> None:
    expected = [ranked(in_process, query, [query], model="plain")[0] for query in TEXTS]
    assert expected == pytest.approx([1.0] * 3, abs=1e-6)
    body = {"text_1": TEXTS, "text_2": TEXTS[::-1], "model": "plain"}
    cosines = scored(in_process.post("/score", json=body))
    assert cosines[1] == pytest.approx(1.0, abs=1e-6)
    assert cosines[0] == pytest.approx(cosines[2], abs=1e-6)
    assert cosines[0] == pytest.approx(ranked(in_process, TEXTS[0], [TEXTS[2]], model="plain")[0], abs=1e-6)


def test_without_the_activation_scores_are_logits(in_process: InProcess) -> None:
    for off in ({"use_activation": False}, {"activation": False}):
        response = in_process.post("/score", json={"text_1": "a", "text_2": TEXTS} | off)
        assert scored(response) == pytest.approx(ranked(in_process, "a", TEXTS, raw_scores=True), abs=1e-6)


@pytest.mark.parametrize(
    ("body", "param", "part"),
    [
        ({"text_1": ["a", "b"], "text_2": ["c"]}, "text_1", "`text_1` holds 2 texts and `text_2` 1: send one"),
        ({"text_1": "a", "text_2": []}, "text_2", "`text_2` is an empty list"),
        ({"text_1": "a", "text_2": [None]}, "text_2", "text_2[0] must be a string"),
        ({"text_2": ["a"]}, "text_1", "`text_1` is missing"),
        ({"text_1": "a", "text_2": ["b", "a " * 300], "truncate": False}, "text_2", "text_2[1] and the query are"),
    ],
)
def test_what_is_wrong_is_named(in_process: InProcess, body: dict[str, Any], param: str, part: str) -> None:
    code = "input_too_long" if "truncate" in body else "invalid_request"
    assert part in expect.failed(in_process.post("/score", json=body), 400, code, param)
