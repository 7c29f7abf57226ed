"""Every route that runs a model runs one elsewhere too, or says what it cannot do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.http.expect import is_the_one_error_body
from tests.upstream.gateway import Gateway, entry
from tests.upstream.service import started
from tests.upstream.wire import vector

MakeGateway = Callable[..., Gateway]

#: Route, body, its status with an embedding model and with a reranker.
ROUTES: list[tuple[str, dict[str, Any], int, int]] = [
    ("/v1/embeddings", {"input": "a"}, 200, 400),
    ("/embed", {"inputs": ["a", "b"]}, 200, 400),
    ("/embed", {"texts": ["a"]}, 200, 400),
    ("/", {"inputs": "a"}, 200, 400),
    ("/v1/embed", {"texts": ["a"], "input_type": "search_query"}, 200, 400),
    ("/v2/embed", {"texts": ["a"], "input_type": "search_query", "embedding_types": ["float", "int8"]}, 200, 400),
    ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"]}}, 200, 400),
    ("/v1/rerank", {"query": "q", "documents": ["a", "b"]}, 200, 200),
    ("/rerank", {"query": "q", "texts": ["a"]}, 200, 200),
    ("/", {"query": "q", "texts": ["a"]}, 200, 200),
    ("/score", {"text_1": ["q", "r"], "text_2": ["a", "b"]}, 200, 200),
    ("/predict", {"inputs": [["q", "a"]]}, 400, 200),
    ("/embed_all", {"inputs": "a"}, 400, 400),
    ("/embed_sparse", {"inputs": "a"}, 400, 400),
    ("/tokenize", {"inputs": "a"}, 400, 400),
    ("/decode", {"ids": [1, 2]}, 400, 400),
]


@pytest.mark.parametrize("kind", ["embedding", "reranker"])
def test_routes(gateway: MakeGateway, kind: str) -> None:
    with started("tei") as service:
        front = gateway(entry("tei", service.url, kind=kind))
        for path, body, embedding, reranker in ROUTES:
            answer = front.post(path, model="far", **body)
            assert answer.status_code == (embedding if kind == "embedding" else reranker), (path, answer.text)
            assert answer.status_code == 200 or is_the_one_error_body(answer), path
        for path in ("/m/far/info", "/models", "/v1/models", "/v1/models/far"):
            assert front.get(path).status_code == 200, path


def test_a_name_that_ends_in_a_kind(gateway: MakeGateway) -> None:
    with started("cohere") as service:
        front = gateway(entry("cohere", service.url))
        answer = front.post("/v1/embeddings", model="far:query", input="a")
        assert answer.status_code == 200, answer.text
        assert service.calls[0].body["input_type"] == "search_query"
        assert answer.json()["data"][0]["embedding"] == pytest.approx(vector("a", kind="search_query").tolist())


def test_errors_in_the_shape_of_tei(gateway: MakeGateway) -> None:
    with started("tei") as service:
        front = gateway(entry("tei", service.url))
        service.faults.extend(["429 9", "401"])
        busy = front.post("/embed", model="far", inputs=["a"])
        assert (busy.status_code, busy.json()["error_type"], busy.headers["retry-after"]) == (429, "Overloaded", "9")
