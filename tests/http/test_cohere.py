"""Cohere's two embed routes: every shape, with the values of /v1/embeddings."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from sekisho.service.quantize import OUTPUT_TYPES, code_range
from tests.http import expect
from tests.http.live import Server

TEXTS = ["動的計画法", "グラフ理論", ""]


def rows_of(server: Server, **fields: Any) -> np.ndarray:
    return expect.vectors(server.embed(input=TEXTS, **fields))


def v1(server: Server, **body: Any) -> dict[str, Any]:
    response = server.client.post("/v1/embed", json={"texts": TEXTS} | body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert set(answer) == {"id", "response_type", "embeddings", "texts", "meta"}
    assert isinstance(answer["id"], str)
    assert answer["texts"] == TEXTS
    assert answer["meta"]["api_version"] == {"version": "1"}
    return answer


def v2(server: Server, body: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    response = server.client.post("/v2/embed", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert set(answer) == {"id", "response_type", "embeddings", "texts", "meta"}
    assert answer["response_type"] == "embeddings_by_type"
    assert answer["texts"] == texts
    assert answer["meta"]["api_version"] == {"version": "2"}
    return answer


@pytest.mark.parametrize("types", [None, []])
def test_version_1_without_types_is_a_list_of_vectors(server: Server, types: list[str] | None) -> None:
    answer = v1(server, embedding_types=types, truncate=None, input_type=None)
    assert answer["response_type"] == "embeddings_floats"
    np.testing.assert_array_equal(np.array(answer["embeddings"], np.float32), rows_of(server))


def test_version_1_with_types(server: Server) -> None:
    answer = v1(server, embedding_types=["float"], truncate=None, model="tiny", input_type="search_query")
    assert answer["response_type"] == "embeddings_by_type"
    assert list(answer["embeddings"]) == ["float"]
    rows = rows_of(server, input_type="query")
    np.testing.assert_array_equal(np.array(answer["embeddings"]["float"], np.float32), rows)


def test_the_tokens_that_are_billed(server: Server) -> None:
    tokens = server.embed(input=TEXTS, input_type="document").json()["usage"]["prompt_tokens"]
    assert v1(server, input_type="search_document")["meta"]["billed_units"] == {"input_tokens": tokens}


def test_version_2(server: Server) -> None:
    answer = v2(server, {"texts": TEXTS, "model": "tiny", "input_type": "search_document"}, TEXTS)
    assert list(answer["embeddings"]) == ["float"]
    rows = rows_of(server, input_type="document")
    np.testing.assert_array_equal(np.array(answer["embeddings"]["float"], np.float32), rows)


def test_version_2_with_contents(server: Server) -> None:
    inputs = [{"content": [{"type": "text", "text": text}]} for text in TEXTS]
    answer = v2(server, {"inputs": inputs, "images": None, "max_tokens": None}, TEXTS)
    np.testing.assert_array_equal(np.array(answer["embeddings"]["float"], np.float32), rows_of(server))
    two = {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    answer = v2(server, {"inputs": [two]}, ["a\nb"])
    there = np.array(answer["embeddings"]["float"], np.float32)
    np.testing.assert_array_equal(there, expect.vectors(server.embed(input=["a\nb"])))


@pytest.mark.parametrize("path", ["/v1/embed", "/v2/embed"])
def test_every_type_at_once(server: Server, path: str) -> None:
    kinds = [*OUTPUT_TYPES, "base64"]
    response = server.client.post(path, json={"texts": TEXTS, "embedding_types": kinds})
    by_type = response.json()["embeddings"]
    assert list(by_type) == kinds
    rows = rows_of(server)
    np.testing.assert_array_equal(np.array(by_type["float"], np.float32), rows)
    decoded = [np.frombuffer(base64.b64decode(text, validate=True), "<f4") for text in by_type["base64"]]
    np.testing.assert_array_equal(np.stack(decoded), rows)
    codes = np.clip(np.rint(rows * (127 / code_range(rows.shape[1]))), -128, 127)
    np.testing.assert_array_equal(by_type["int8"], codes)
    np.testing.assert_array_equal(by_type["uint8"], codes + 128)
    packed = [[int("".join("1" if x > 0 else "0" for x in row[i : i + 8]), 2) for i in range(0, 40, 8)] for row in rows]
    assert by_type["ubinary"] == packed
    assert by_type["binary"] == [[code - 128 for code in row] for row in packed]


@pytest.mark.parametrize("width", [8, 0, None, 40])
def test_fewer_dimensions(server: Server, width: int | None) -> None:
    answer = v2(server, {"texts": TEXTS, "output_dimension": width, "model": "tiny"}, TEXTS)
    expected = rows_of(server, dimensions=width)
    assert expected.shape == (3, width or 40)
    np.testing.assert_array_equal(np.array(answer["embeddings"]["float"], np.float32), expected)


def test_truncation(server: Server) -> None:
    long = "the cat " * 400 + "train station planet"
    for path, body in (("/v1/embed", {"texts": [long]}), ("/v2/embed", {"texts": [long]})):
        for word, ours in (("END", True), ("START", "START"), (None, None)):
            response = server.client.post(path, json=body | {"truncate": word, "embedding_types": ["float"]})
            assert response.headers["x-sekisho-truncated"] == "1"
            there = np.array(response.json()["embeddings"]["float"], np.float32)
            np.testing.assert_array_equal(there, expect.vectors(server.embed(input=[long], truncate=ours)))
        refused = server.client.post(path, json=body | {"truncate": "NONE"})
        assert "texts[0] is 805 tokens" in expect.failed(refused, 400, "input_too_long", "texts")


def test_at_most_so_many_tokens(server: Server) -> None:
    long = "the cat " * 50
    response = server.client.post("/v2/embed", json={"texts": [long], "max_tokens": 4, "input_type": "search_query"})
    there = np.array(response.json()["embeddings"]["float"], np.float32)
    expected = expect.vectors(server.embed(input=["the cat the cat"], input_type="query"))
    np.testing.assert_array_equal(there, expected)
    assert response.headers["x-sekisho-truncated"] == "1"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "texts"),
        ({"texts": []}, "texts"),
        ({"texts": None}, "texts"),
        ({"texts": "a"}, "texts"),
        ({"texts": [5]}, "texts"),
        ({"texts": ["a"], "images": ["data:image/png;base64,AA=="]}, "images"),
        ({"images": ["data:image/png;base64,AA=="]}, "images"),
        ({"texts": ["a"], "embedding_types": ["float", "int4"]}, "embedding_types"),
        ({"texts": ["a"], "embedding_types": "float"}, "embedding_types"),
        ({"texts": ["a"], "truncate": "MIDDLE"}, "truncate"),
        ({"texts": ["a"], "input_type": "image"}, "input_type"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/embed", "/v2/embed"])
def test_gone_wrong(server: Server, path: str, body: dict[str, Any], param: str) -> None:
    expect.failed(server.client.post(path, json=body), 400, "invalid_request", param)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"texts": ["a"], "inputs": [{"content": [{"type": "text", "text": "a"}]}]}, "texts"),
        ({"inputs": [{"content": []}]}, "inputs"),
        ({"inputs": [{"content": [{"type": "text"}]}]}, "inputs"),
        ({"inputs": [{"content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": "a"}, "inputs"),
        ({"texts": ["a"], "output_dimension": 999}, "dimensions"),
        ({"texts": ["a"], "max_tokens": 0}, "max_tokens"),
    ],
)
def test_version_2_gone_wrong(server: Server, body: dict[str, Any], param: str) -> None:
    message = expect.failed(server.client.post("/v2/embed", json=body), 400, "invalid_request", param)
    if "image_url" in str(body):
        assert message == "Images are not embedded here: send texts"


def test_the_list_of_types_is_told(server: Server) -> None:
    body = {"texts": ["a"], "embedding_types": ["int4"]}
    message = server.client.post("/v2/embed", json=body).json()["message"]
    assert all(kind in message for kind in (*OUTPUT_TYPES, "base64"))


def test_tei_from_a_base_url_that_ends_in_v1(server: Server) -> None:
    answer = server.client.post("/v1/embed", json={"inputs": TEXTS})
    np.testing.assert_array_equal(np.array(answer.json(), np.float32), rows_of(server))
    expect.failed(server.client.post("/v1/embed", json={"inputs": []}), 400, "", tei=True)


def test_an_unknown_model(server: Server) -> None:
    for path in ("/v1/embed", "/v2/embed"):
        refused = server.client.post(path, json={"texts": ["a"], "model": "embed-v4"})
        expect.failed(refused, 404, "model_not_found", "model")
