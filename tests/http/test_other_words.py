"""/v1/embeddings in Jina's and Voyage's words, models with a kind in their name, and token ids by a model's name."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from tests.http import expect
from tests.http.live import Server

TEXTS = ["猫", "犬と公園"]


def rows_of(server: Server, **fields: Any) -> np.ndarray:
    return expect.vectors(server.embed({"input": TEXTS} | fields))


def embeddings(server: Server, body: dict[str, Any]) -> list[Any]:
    response = server.embed(body)
    assert response.status_code == 200, response.text
    return [each["embedding"] for each in response.json()["data"]]


# --- Jina ---


@pytest.mark.parametrize(
    ("task", "kind"),
    [("retrieval.query", "query"), ("retrieval.passage", "document"), (None, None)],
)
def test_jinas_request(server: Server, task: str | None, kind: str | None) -> None:
    body = {
        "model": "tiny",
        "input": [{"text": text} for text in TEXTS],
        "task": task,
        "dimensions": None,
        "late_chunking": False,
        "normalized": True,
        "embedding_type": "float",
        "truncate": True,
    }
    there = np.array(embeddings(server, body), np.float32)
    np.testing.assert_array_equal(there, rows_of(server, input_type=kind))


@pytest.mark.parametrize("asked", ["base64", ["base64"]])
def test_jinas_base64(server: Server, asked: Any) -> None:
    for key in ("embedding_type", "embedding_types"):
        texts = embeddings(server, {"input": TEXTS, key: asked})
        decoded = np.stack([np.frombuffer(base64.b64decode(text), "<f4") for text in texts])
        np.testing.assert_array_equal(decoded, rows_of(server))


@pytest.mark.parametrize("kind", ["binary", "ubinary"])
def test_jinas_bits(server: Server, kind: str) -> None:
    bits = np.packbits(rows_of(server) > 0, axis=1).astype(int) - (128 if kind == "binary" else 0)
    np.testing.assert_array_equal(embeddings(server, {"input": TEXTS, "embedding_type": kind}), bits)


@pytest.mark.parametrize("key", ["embedding_type", "embedding_types", "output_dtype"])
def test_several_types_are_refused_with_the_route_that_gives_them(server: Server, key: str) -> None:
    for asked in (["float", "int8"], ["base64", "float"], []):
        message = expect.failed(server.embed({"input": "a", key: asked}), 400, "invalid_request", key)
        assert "/v2/embed" in message


def test_a_picture_is_refused(server: Server) -> None:
    refused = server.embed(input=[{"text": "a"}, {"image": "https://example.com/a.png"}])
    assert "input[1]" in expect.failed(refused, 400, "invalid_request", "input")


# --- Voyage ---

NULLS = {"input_type": None, "truncation": True, "output_dtype": None, "output_dimension": None}


def test_voyages_request_with_its_nulls(server: Server) -> None:
    answer = server.embed({"input": TEXTS, "model": "tiny", "encoding_format": "base64"} | NULLS)
    np.testing.assert_array_equal(expect.vectors(answer), rows_of(server))
    assert answer.json()["usage"]["total_tokens"] > 0


@pytest.mark.parametrize(("kind", "dtype"), [("int8", "i1"), ("uint8", "u1"), ("binary", "i1"), ("ubinary", "u1")])
def test_voyages_types_in_base64_and_as_numbers(server: Server, kind: str, dtype: str) -> None:
    body = NULLS | {"input": TEXTS, "output_dtype": kind, "input_type": "query", "output_dimension": 16}
    numbers = np.array(embeddings(server, body))
    packed = embeddings(server, body | {"encoding_format": "base64"})
    decoded = np.stack([np.frombuffer(base64.b64decode(text), dtype) for text in packed])
    np.testing.assert_array_equal(decoded, numbers)
    assert numbers.shape == (2, 2 if "binary" in kind else 16)


def test_voyages_truncation(server: Server) -> None:
    long = "the cat " * 400
    assert server.embed({"input": long} | NULLS).headers["x-sekisho-truncated"] == "1"
    expect.failed(server.embed({"input": long} | NULLS | {"truncation": False}), 400, "input_too_long", "input")


def test_every_optional_key_may_be_null(server: Server) -> None:
    document = server.client.get("/openapi.json").json()["paths"]["/v1/embeddings"]["post"]
    names = set(document["requestBody"]["content"]["application/json"]["schema"]["properties"]) - {"input"}
    names |= {"task", "prompt_name", "output_dimension", "truncation", "normalized", "embedding_types", "late_chunking"}
    there = expect.vectors(server.embed({"input": TEXTS} | dict.fromkeys(names)))
    np.testing.assert_array_equal(there, rows_of(server))


# --- a kind in the model's name ---


@pytest.mark.parametrize("name", ["tiny", "laboratory/tiny-bert", "text-embedding-3-small", "TINY-bert"])
@pytest.mark.parametrize(("suffix", "kind"), [("query", "query"), ("search_document", "document")])
def test_a_models_name_may_say_what_its_texts_are(server: Server, name: str, suffix: str, kind: str) -> None:
    answer = server.embed({"input": TEXTS, "model": f"{name}:{suffix}"})
    np.testing.assert_array_equal(expect.vectors(answer), rows_of(server, input_type=kind))
    assert answer.json()["model"] == f"{name}:{suffix}"


def test_what_the_request_says_goes_before_the_name(server: Server) -> None:
    there = expect.vectors(server.embed({"input": TEXTS, "model": "tiny:query", "input_type": "document"}))
    np.testing.assert_array_equal(there, rows_of(server, input_type="document"))
    there = expect.vectors(server.embed({"input": TEXTS, "model": "tiny:query", "apply_ruri_prefix": True}))
    np.testing.assert_array_equal(there, rows_of(server, input_type="query"))


@pytest.mark.parametrize(
    ("path", "field", "where"),
    [
        ("/embed", "inputs", []),
        ("/embed", "texts", ["vectors"]),
        ("/", "inputs", []),
        ("/v1/embed", "texts", ["embeddings"]),
        ("/v2/embed", "texts", ["embeddings", "float"]),
    ],
)
def test_every_dialect_takes_such_a_name(server: Server, path: str, field: str, where: list[str]) -> None:
    found = server.client.post(path, json={field: TEXTS, "model": "tiny:query"}).json()
    for key in where:
        found = found[key]
    np.testing.assert_array_equal(np.array(found, np.float32), rows_of(server, input_type="query"))


def test_a_name_that_ends_in_nothing_known(server: Server) -> None:
    for refused in (server.embed(input="a", model="tiny:quary"), server.client.get("/v1/models/tiny:quary")):
        assert "query, document" in expect.failed(refused, 404, "model_not_found", "model")


@pytest.mark.parametrize("path", ["tiny:query", "laboratory/tiny-bert:document", "laboratory%2Ftiny-bert%3Aquery"])
def test_models_list_such_a_name(server: Server, path: str) -> None:
    model = server.client.get(f"/v1/models/{path}").json()
    assert model["id"] == path.replace("%2F", "/").replace("%3A", ":")
    assert model["kind"] == "embedding"


# --- token ids by the model's name ---


@pytest.mark.parametrize(("name", "table"), [("gpt-4o", "o200k_base"), ("text-ada-001", "r50k_base")])
def test_ids_of_another_table_are_refused_by_the_name_they_were_made_for(server: Server, name: str, table: str) -> None:
    for ids in ([24912, 2375], [[24912, 2375]]):
        message = expect.failed(server.embed(input=ids, model=name), 400, "invalid_request", "input")
        assert table in message
        assert "check_embedding_ctx_length=False" in message
    assert len(expect.vectors(server.embed(input="hello world", model=name))) == 1
    assert len(expect.vectors(server.embed(input=[15339, 1917], model="strict"))) == 1
