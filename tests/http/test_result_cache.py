"""Over the wire: an answer from kept results is the answer, in its counts and headers too; and it can be shared."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.http.conftest import InProcess
from tests.http.live import Server, serving
from tests.redis_server import running

TINY = "tiny"
LONG = "very long text " * 400


@pytest.fixture(scope="module")
def remembering(minilm_home: Path, wire_registry: Path) -> Iterator[Server]:
    """A server that keeps what it does unless told otherwise."""
    with serving(minilm_home, wire_registry, engine="onnxruntime", cache_mib="") as started:
        yield started


def cache(server: Server, name: str, model: str = TINY) -> float:
    return server.metric(f"sekisho_cache_{name}_total", model=model)


def unchanging(answer: httpx.Response) -> dict[str, Any]:
    """The body without what no two answers share."""
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return {key: value for key, value in body.items() if key not in {"id", "created"}}


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "a query": ("/v1/embeddings", {"input": "東京駅はどこですか", "input_type": "query"}),
    "base64": ("/v1/embeddings", {"input": ["one", "two", "one"], "encoding_format": "base64"}),
    "cut texts": ("/v1/embeddings", {"input": [LONG, "short", LONG]}),
    "plain vectors": ("/v1/embeddings", {"input": ["three", "four"], "normalize": False}),
    "fewer dimensions": ("/v1/embeddings", {"input": ["five"], "dimensions": 7}),
    "token ids": ("/v1/embeddings", {"input": [[15339, 1917], [15339]]}),
    "pairs": ("/v1/rerank", {"model": "ranker", "query": "q", "documents": ["a", "b " * 300, "a"]}),
    "cosines": ("/v1/rerank", {"model": TINY, "query": "q", "documents": ["c", "d", "c"]}),
    "predictions": ("/predict", {"model": "classifier", "inputs": [["a", "b"], ["c", "d"]]}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_same_request_has_the_same_answer_and_runs_nothing(remembering: Server, name: str) -> None:
    path, body = REQUESTS[name]
    body = {"model": TINY} | body
    first = remembering.client.post(path, json=body)
    run = remembering.metric("sekisho_tokens_total")
    second = remembering.client.post(path, json=body)
    if path == "/predict":
        assert first.json() == second.json()
    else:
        assert unchanging(first) == unchanging(second)
    assert remembering.metric("sekisho_tokens_total") == run
    assert first.headers.get("x-sekisho-truncated") == second.headers.get("x-sekisho-truncated")
    assert second.headers["x-inference-ms"] == second.headers["x-queue-ms"] == "0.00"
    assert float(second.headers["x-total-ms"]) > 0


def test_what_is_kept_is_what_a_server_without_gives(
    remembering: Server, minilm_home: Path, wire_registry: Path
) -> None:
    """And off is off: nothing is kept, nothing is counted."""
    with serving(minilm_home, wire_registry, engine="onnxruntime") as forgetful:
        for path, fields in REQUESTS.values():
            body = {"model": TINY} | fields
            answers = [each.client.post(path, json=body) for each in (remembering, remembering, forgetful, forgetful)]
            counted = [(a.status_code, a.headers.get("x-sekisho-truncated")) for a in answers]
            assert len(set(counted)) == 1
            if path != "/predict":
                assert len({str(answer.json()["usage"]) for answer in answers}) == 1
        tokens = forgetful.metric("sekisho_tokens_total")
        assert forgetful.embed(model=TINY, input="again").json()["usage"]["prompt_tokens"] > 0
        assert forgetful.metric("sekisho_tokens_total") > tokens
        for name in ("hits", "misses", "joined"):
            assert forgetful.metric(f"sekisho_cache_{name}_total") == 0
        assert forgetful.metric("sekisho_cache_bytes") == 0


def test_hits_misses_and_bytes_are_in_the_metrics(remembering: Server) -> None:
    before = {name: cache(remembering, name) for name in ("hits", "misses")}
    for _ in range(3):
        remembering.embed(model=TINY, input=["counted once", "counted too"])
    assert cache(remembering, "misses") == before["misses"] + 2
    assert cache(remembering, "hits") == before["hits"] + 4
    assert remembering.metric("sekisho_cache_bytes") > 0


def test_vectors_of_a_mixed_request_are_those_of_its_texts(remembering: Server) -> None:
    texts = [f"mixed {number}" for number in range(40)]
    remembering.embed(model=TINY, input=texts[::3])
    mixed = remembering.embed(model=TINY, input=texts, encoding_format="base64").json()
    again = remembering.embed(model=TINY, input=texts[::-1], encoding_format="base64").json()
    rows = [base64.b64decode(item["embedding"]) for item in mixed["data"]]
    assert rows == [base64.b64decode(item["embedding"]) for item in again["data"]][::-1]
    alone = remembering.embed(model="plain", input=texts).json()
    assert mixed["usage"]["prompt_tokens"] == alone["usage"]["prompt_tokens"]


def test_an_error_is_the_same_each_time_and_is_not_kept(remembering: Server) -> None:
    body = {"model": "strict", "input": ["fine", LONG]}
    answers = [remembering.embed(body).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert "input[1]" in answers[0]["message"]
    assert remembering.embed(model="strict", input="fine").status_code == 200
    assert remembering.embed(body).json() == answers[0]


def test_equal_requests_at_once_are_run_once(remembering: Server) -> None:
    """As many as it takes until some have met."""

    async def burst(text: str) -> set[bytes]:
        async with httpx.AsyncClient(base_url=remembering.url, timeout=60, trust_env=False) as client:
            body = {"model": TINY, "input": text, "encoding_format": "base64"}
            answers = await asyncio.gather(*(client.post("/v1/embeddings", json=body) for _ in range(16)))
        return {base64.b64decode(answer.json()["data"][0]["embedding"]) for answer in answers}

    before, misses = cache(remembering, "joined"), cache(remembering, "misses")
    bursts = 0
    while cache(remembering, "joined") == before:
        assert len(asyncio.run(burst(f"together {bursts} " + "and " * 200))) == 1
        bursts += 1
        assert bursts < 50
    assert cache(remembering, "misses") == misses + bursts


def test_two_servers_share_a_redis_and_answer_without_it(minilm_home: Path, wire_registry: Path) -> None:
    options = {"engine": "onnxruntime", "cache_mib": "8"}
    with (
        running() as redis,
        serving(minilm_home, wire_registry, redis_url=redis.url, **options) as one,
        serving(minilm_home, wire_registry, redis_url=redis.url, **options) as other,
    ):
        body = {"model": TINY, "input": ["shared", LONG], "encoding_format": "base64"}
        first = one.embed(body)
        while len(redis.names()) < 2:
            assert first.status_code == 200
        second = other.embed(body)
        assert unchanging(first) == unchanging(second)
        assert first.headers["x-sekisho-truncated"] == second.headers["x-sekisho-truncated"] == "1"
        assert (cache(other, "hits"), other.metric("sekisho_tokens_total")) == (2, 0)
        stored = b"".join(redis.do("GET", key) for key in redis.names())
        assert b"shared" not in stored + b"".join(redis.names())

        redis.kill()
        for server in (one, other):
            answers = [server.embed(model=TINY, input=f"alone {number}") for number in range(10)]
            assert {answer.status_code for answer in answers} == {200}
            assert server.metric("sekisho_cache_errors_total", reason="unreachable") > 0
            assert "redis_fails" in server.log
            assert unchanging(server.embed(body)) == unchanging(first)


def test_a_redis_url_that_is_none_ends_the_start_without_showing_it(minilm_home: Path, wire_registry: Path) -> None:
    environment = os.environ | {"SEKISHO_HOME": str(minilm_home), "SEKISHO_MODELS": str(wire_registry)}
    environment |= {"SEKISHO_REDIS_URL": "http://:very-secret@127.0.0.1"}
    command = [sys.executable, "-m", "sekisho", "serve", "--port", "0"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=minilm_home, check=False)
    assert ended.returncode == 1
    assert "SEKISHO_REDIS_URL is no address of a Redis" in ended.stderr
    assert "very-secret" not in ended.stderr + ended.stdout


def test_a_flag_turns_it_off(minilm_home: Path, wire_registry: Path, in_process_with: Callable[..., InProcess]) -> None:
    assert in_process_with(cache_mib=0).parts.results is None
    assert in_process_with(cache_mib=8).parts.results is not None
    command = [sys.executable, "-m", "sekisho", "serve", "--help"]
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    for flag in ("--cache-mib", "--cache-seconds", "--redis-url"):
        assert flag in shown


def test_rows_that_came_from_the_cache_are_finite_and_of_length_one(remembering: Server) -> None:
    body = {"model": TINY, "input": ["unit", "length"]}
    for _ in range(2):
        rows = np.array([item["embedding"] for item in remembering.embed(body).json()["data"]], np.float32)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
