"""What clients get wrong, and what they are told."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.http import expect
from tests.http.live import Server

JSON = {"content-type": "application/json"}


def post(server: Server, body: bytes, content_type: str | None = "application/json") -> httpx.Response:
    headers = {b"content-type": content_type.encode()} if content_type else {}
    return server.client.post("/v1/embeddings", content=body, headers=headers)


# --- no JSON ---


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (b'{"input": "a"', "line 1"),
        (b'{"input": "a",}', "column"),
        (b"{\n\"input\": 'a'}", "line 2"),
        (b"input=a", "line 1"),
        (b'{"input": NaN}', "not valid JSON"),
        (b'{"input": "a"} {"input": "b"}', "Extra data"),
        (b'{"input": "\xff"}', "UTF-8"),
        ('{"input": "a"}'.encode("utf-16"), "not valid JSON"),
        (b'{"input": "a\tb"}', "control character"),
        (b"", "empty"),
        (b" \n", "empty"),
    ],
)
def test_malformed_json(server: Server, body: bytes, hint: str) -> None:
    assert hint in expect.failed(post(server, body), 400, "invalid_request")


@pytest.mark.parametrize("body", [b"[]", b"null", b"5", b'"a"', b"true", b'["a", "b"]'])
def test_json_that_is_no_object(server: Server, body: bytes) -> None:
    assert "must be a JSON object" in expect.failed(post(server, body), 400, "invalid_request")


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"])
def test_another_content_type(server: Server, content_type: str) -> None:
    message = expect.failed(post(server, b"input=a&model=b", content_type), 415, "unsupported_media_type")
    assert content_type in message


@pytest.mark.parametrize("content_type", ["text/plain", None, "application/vnd.api+json", "nonsense", "text/é"])
def test_json_under_another_name_is_forgiven(server: Server, content_type: str | None) -> None:
    assert post(server, b'{"input": "a"}', content_type).status_code == 200


@pytest.mark.parametrize("depth", [600, 1000, 1023, 1025, 5000, 200_000])
@pytest.mark.parametrize("shape", ["[", '{"input":'])
def test_json_nested_without_end(server: Server, depth: int, shape: str) -> None:
    close = {"[": "]", '{"input":': "}"}[shape]
    expect.failed(
        post(server, (shape * depth + "1" + close * depth).encode()), 400, "invalid_request", _any_param(shape, depth)
    )
    inside = '{"input": ' + "[" * depth + "1" + "]" * depth + "}"
    assert post(server, inside.encode()).status_code == 400
    broken = '{"input": "\\ud800", "x": ' + "[" * depth + "1" + "]" * depth + "}"
    assert post(server, broken.encode()).status_code == 400


def _any_param(shape: str, depth: int) -> str | None:
    """An object within the parser's depth is one whose `input` is an object."""
    return "input" if shape != "[" and depth <= 1023 else None


# --- the wrong values ---

WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({}, "input", "missing"),
    ({"input": None}, "input", "not null"),
    ({"input": 5}, "input", "the number 5"),
    ({"input": True}, "input", "true"),
    ({"input": {"text": "a"}}, "input", "an object"),
    ({"input": []}, "input", "empty list"),
    ({"input": [[]]}, "input", "input[0]"),
    ({"input": ["a", None]}, "input", "input[1]"),
    ({"input": ["a", 5]}, "input", "input[1]"),
    ({"input": [1.5]}, "input", "1.5"),
    ({"input": [True]}, "input", "true"),
    ({"input": [[1, "a"]]}, "input", "input[0]"),
    ({"input": [[1, True]]}, "input", "input[0]"),
    ({"input": [{"txt": "a"}]}, "input", "`text`"),
    ({"input": [{"text": 5}]}, "input", "input[0]"),
    ({"input": [["a"]]}, "input", "a list"),
    ({"input": "a", "model": 5}, "model", "the number 5"),
    ({"input": "a", "model": ["tiny"]}, "model", "a list"),
    ({"input": "a", "encoding_format": "hex"}, "encoding_format", "'float' or 'base64'"),
    ({"input": "a", "encoding_format": 64}, "encoding_format", "'float' or 'base64'"),
    ({"input": "a", "dimensions": "many"}, "dimensions", "'many'"),
    ({"input": "a", "dimensions": 8.5}, "dimensions", "8.5"),
    ({"input": "a", "dimensions": [8]}, "dimensions", "a list"),
    ({"input": "a", "dimensions": -1}, "dimensions", "1 to 40"),
    ({"input": "a", "dimensions": 41}, "dimensions", "1 to 40"),
    ({"input": "a", "dimensions": 10**30}, "dimensions", "not"),
    ({"input": "a", "dimensions": 8, "model": "plain"}, "dimensions", "allow_truncate_dimensions"),
    ({"input": "a", "dimensions": 8, "model": "strict"}, "dimensions", "16, 40"),
    ({"input": "a", "dimensions": 128, "model": "all-minilm-l6-v2"}, "dimensions", "384"),
    ({"input": "a", "output_dimension": "x"}, "output_dimension", "'x'"),
    ({"input": "a", "input_type": "nonsense"}, "input_type", "query, document"),
    ({"input": "a", "input_type": "clustering"}, "input_type", "query, document"),
    ({"input": "a", "input_type": 5}, "input_type", "the number 5"),
    ({"input": "a", "task": []}, "task", "a list"),
    ({"input": "a", "instruction": "find"}, "instruction", "leave `instruction` out"),
    ({"input": "a", "instruction": 5}, "instruction", "the number 5"),
    ({"input": "a", "apply_ruri_prefix": "perhaps"}, "apply_ruri_prefix", "'perhaps'"),
    ({"input": "a", "truncate": "MIDDLE"}, "truncate", "END"),
    ({"input": "a", "truncate": 1}, "truncate", "START"),
    ({"input": "a", "truncation": {}}, "truncation", "NONE"),
    ({"input": "a", "normalize": "maybe"}, "normalize", "'maybe'"),
    ({"input": "a", "output_dtype": "int4"}, "output_dtype", "'ubinary'"),
    ({"input": "a", "output_dtype": 8}, "output_dtype", "'ubinary'"),
    ({"input": "a", "output_dtype": [[8]]}, "output_dtype", "'ubinary'"),
    ({"input": "a", "embedding_types": ["float", "int8"]}, "embedding_types", "exactly one"),
    ({"input": "a", "embedding_types": []}, "embedding_types", "exactly one"),
    ({"input": "a", "user": 5}, "user", "the number 5"),
]


@pytest.mark.parametrize(("body", "param", "hint"), WRONG, ids=[json.dumps(body)[:60] for body, _, _ in WRONG])
def test_wrong_values_name_the_field_and_what_it_takes(
    server: Server, body: dict[str, Any], param: str, hint: str
) -> None:
    assert hint in expect.failed(server.embed(body), 400, "invalid_request", param)


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("tinny", "tiny"),
        ("all-minilm-l12-v2", "all-minilm-l6-v2"),
        ("text-embedding-3-large", "tiny"),
        ("zzz", "plain"),
    ],
)
def test_an_unknown_model_lists_close_names(server: Server, name: str, close: str) -> None:
    message = expect.failed(server.embed(input="a", model=name), 404, "model_not_found", "model")
    assert f"{name!r} does not exist" in message
    assert close in message


def test_ids_outside_the_table(server: Server) -> None:
    for ids in ([100256], [-1], [15339, 999999], [2**62]):
        message = expect.failed(server.embed(input=[[15339], ids]), 400, "invalid_request", "input")
        assert "check_embedding_ctx_length=False" in message
        assert "input[1]" in message
    expect.failed(server.embed(input=[2**200]), 400, "invalid_request", "input")


def test_a_model_that_takes_no_ids(server: Server) -> None:
    message = expect.failed(server.embed(input=[15339], model="no-ids"), 400, "invalid_request", "input")
    assert "check_embedding_ctx_length=False" in message


# --- extreme texts ---


def test_a_text_of_five_megabytes_is_cut(server: Server) -> None:
    response = server.embed(input=["the cat and the dog " * 250_000, "猫"])
    assert response.headers["x-sekisho-truncated"] == "1"
    by_hand = expect.vectors(server.embed(input="the cat and the dog " * 102))
    np.testing.assert_allclose(expect.vectors(response)[:1], by_hand, atol=1e-6)
    assert float(response.headers["x-total-ms"]) < 2000


def test_a_word_of_a_million_letters_is_one_unknown_token(server: Server) -> None:
    response = server.embed(input="a" * 1_000_000)
    assert response.json()["usage"]["prompt_tokens"] == 3
    assert np.isfinite(expect.vectors(response)).all()


def test_nul_and_other_control_characters_are_text(server: Server) -> None:
    assert expect.vectors(server.embed(input=["\0", "a\0b", "\x1b[31m", "\u202e", "\ufffe"])).shape == (5, 40)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"input": "\ud83d"}, "input holds half of a character (the lone surrogate U+D83D at position 0)"),
        ({"input": ["a", "b\ude00"]}, "input[1] holds half"),
        ({"input": [{"text": "\ud83d"}]}, "input[0].text"),
        ({"input": "a", "model": "\ud83d"}, "model holds"),
        ({"\ud83d": "a"}, "a key of the body"),
        ({"x": {"\udfff": 1}}, "a key of x"),
        ({"猫": {"\ud83d": "\ud83d"}}, "a key of 猫"),
        ({"x" * 1000: "\ud83d"}, "half of a character"),
    ],
)
def test_half_a_character_is_pointed_at(server: Server, body: dict[str, Any], where: str) -> None:
    message = expect.failed(post(server, expect.raw(body)), 400, "invalid_request")
    assert where in message
    assert len(message) < 400


# --- too much ---


def test_a_body_that_is_announced_as_too_large(tight: Server) -> None:
    body = json.dumps({"input": "a" * 600_000}).encode()
    assert "0.5 MiB" in expect.failed(post(tight, body), 413, "request_too_large")


def test_a_chunked_body_that_turns_out_too_large(tight: Server) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"input": "'
        for _ in range(20):
            yield b"a" * 50_000
        yield b'"}'

    response = tight.client.post("/v1/embeddings", content=chunks(), headers=JSON)
    expect.failed(response, 413, "request_too_large")


def test_a_chunked_body_without_end_is_answered_while_it_still_comes(tight: Server) -> None:
    with socket.create_connection(("127.0.0.1", tight.port), timeout=10) as raw:
        raw.sendall(b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        chunk = b"8000\r\n" + b"a" * 0x8000 + b"\r\n"
        for _ in range(20):
            raw.sendall(chunk)
        answer = raw.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_within_the_limit_is_served(tight: Server) -> None:
    response = tight.client.post("/v1/embeddings", content=iter([b'{"inp', b'ut": "a', b'bc"}']), headers=JSON)
    assert response.status_code == 200


def test_too_many_tokens_for_one_request(tight: Server) -> None:
    message = expect.failed(tight.embed(input=["the cat " * 255] * 110), 413, "request_too_large", "input")
    assert "56,320 tokens" in message
    assert "50,000" in message


def test_a_full_queue_is_a_429_and_passes(tight: Server) -> None:
    """A request may fill the queue beyond its limit; the next is refused until that has gone down."""
    before = tight.metric("sekisho_refused_total")
    long = {"input": ["the cat " * 100] * 60, "model": "all-minilm-l6-v2"}
    tight.embed(input="warm", model="all-minilm-l6-v2")
    answers: list[httpx.Response] = []
    filling = threading.Thread(target=lambda: answers.append(tight.embed(long)))
    filling.start()
    tight.wait_for_metric("sekisho_queue_tokens", 5_000, model="all-minilm-l6-v2")
    refused = tight.embed(input=["the cat " * 20] * 20, model="all-minilm-l6-v2")
    message = expect.failed(refused, 429, "overloaded")
    assert "2,000" in message
    assert refused.headers["retry-after"] == "1"
    assert tight.embed(input="another model is free").status_code == 200
    filling.join(60)
    assert answers[0].status_code == 200
    assert tight.metric("sekisho_refused_total") == before + 1
    assert tight.embed(input="a", model="all-minilm-l6-v2").status_code == 200


# --- not our client's fault ---


def test_a_model_without_pins_is_not_loaded(server: Server) -> None:
    response = server.embed(input="a", model="unpinned")
    message = expect.failed(response, 503, "model_unpinned")
    assert "sekisho lock unpinned" in message
    assert response.headers["retry-after"] == "60"


def test_a_model_whose_files_are_missing_is_a_lasting_failure_that_names_no_path(
    server: Server, wire_registry: Any
) -> None:
    message = expect.failed(server.embed(input="a", model="missing"), 500, "artifact_refused")
    assert "config.json" in message
    assert str(wire_registry.parent) not in message
    assert server.embed(input="a").status_code == 200
