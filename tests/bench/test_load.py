"""The load generator against a real server, and against servers that fail it."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from sekisho.bench.load import Kept, Loading, judge, sampled, send, vectors
from sekisho.bench.mix import texts
from sekisho.bench.plan import Endpoint, LoadFailed, Plan
from sekisho.contract import Rows
from tests.http.live import Server

SAMPLE = texts(40)


def asked(live: Server, model: str | None, inputs: list[str]) -> Rows:
    items = live.embed(input=inputs, model=model, encoding_format="base64").json()["data"]
    return np.stack([np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in items])


@pytest.mark.parametrize(("per_request", "connections"), [(1, 1), (1, 8), (16, 3)])
@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_every_text_is_answered_with_its_own_vector(
    live: Server, endpoint: Endpoint, per_request: int, connections: int, encoding: str
) -> None:
    as_asked = Endpoint("sekisho", endpoint.host, endpoint.port, model=endpoint.model, encoding=encoding)  # type: ignore[arg-type]
    load = send(Plan(as_asked, SAMPLE, per_request, connections, keep=list(range(40))))
    assert sorted(number for number, _, _ in load.requests) == list(range(-(-40 // per_request)))
    found = vectors(load)
    np.testing.assert_allclose(
        np.stack([found[place] for place in range(40)]), asked(live, endpoint.model, SAMPLE), atol=1e-5
    )


def test_a_load_tells_its_times_and_its_own_cost(endpoint: Endpoint) -> None:
    load = send(Plan(endpoint, SAMPLE, 1, 4, stages=True))
    assert load.began < min(at for _, at, _ in load.requests) <= max(at for _, at, _ in load.requests) <= load.ended
    assert 0 < load.p50 <= load.p99 <= 1000 * load.seconds
    assert load.cpu_seconds > 0
    assert load.within(load.began, load.ended) == load.latencies
    assert load.within(load.ended, load.ended + 1) == []
    assert set(load.stages) == {"tokenize", "queue", "run", "total"}
    assert all(len(times) == 40 for times in load.stages.values())


def test_a_load_of_some_seconds_begins_again(endpoint: Endpoint) -> None:
    load = send(Plan(endpoint, SAMPLE[:2], 1, 2, seconds=0.5))
    assert len(load.requests) > 2
    assert {number for number, _, _ in load.requests} == {0, 1}


def test_a_load_ends_when_it_is_told_to(live: Server, endpoint: Endpoint) -> None:
    before = live.metric("sekisho_batches_total")
    loading = Loading(Plan(endpoint, SAMPLE, 40, 1, seconds=3600))
    live.wait_for_metric("sekisho_batches_total", before + 1)
    assert not loading.ended
    loading.stop()
    assert loading.result().requests


def test_a_refusal_is_told_with_what_was_answered(endpoint: Endpoint) -> None:
    with pytest.raises(LoadFailed, match=r"sekisho: http/1.1 404 .*no-such-model"):
        send(Plan(replace(endpoint, model="no-such-model"), SAMPLE, 1, 1))


def test_an_answer_without_all_of_its_vectors_is_no_answer(endpoint: Endpoint) -> None:
    with pytest.raises(LoadFailed, match="too short for its vectors"):
        send(Plan(replace(endpoint, width=4096), SAMPLE, 1, 1))


def test_a_server_that_is_not_there_is_told(endpoint: Endpoint) -> None:
    with pytest.raises(LoadFailed, match="elsewhere: "):
        send(Plan(Endpoint("elsewhere", "127.0.0.1", 9), SAMPLE, 1, 1))


class _Wrong(BaseHTTPRequestHandler):
    """Closes at once, or answers without a length, by the path asked for."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/endless":
            self.send_response(200)
            self.end_headers()
        self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@contextmanager
def wrong() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Wrong) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("path", "told"), [("/closed", "closed a connection"), ("/endless", "how long it is")])
def test_what_is_no_answer_ends_the_load(path: str, told: str) -> None:
    with wrong() as port, pytest.raises(LoadFailed, match=told):
        send(Plan(Endpoint("wrong", "127.0.0.1", port, path), SAMPLE, 1, 2))


def test_vectors_under_load_are_those_of_the_texts_alone(endpoint: Endpoint) -> None:
    kept = Kept(endpoint)
    assert not kept
    for per_request, connections in ((1, 16), (8, 2)):
        kept.add(SAMPLE, send(Plan(endpoint, SAMPLE, per_request, connections, keep=[0, 7, 39])))
    same = kept.compare()
    assert same.texts == 6
    assert same.apart <= 1e-5
    assert same.cosine > 0.99999


def test_a_vector_of_another_text_is_seen() -> None:
    right, other = np.array([1, 0, 0], np.float32), np.array([0.6, 0.8, 0], np.float32)
    found = judge([("a", right), ("b", right)], {"a": right, "b": other})
    assert found.apart == pytest.approx(0.8)
    assert found.cosine == pytest.approx(0.6)


def test_one_percent_is_sampled_and_at_least_one() -> None:
    assert len(sampled(1000)) == 10
    assert len(sampled(3)) == 1
    assert sampled(1000) == sampled(1000)
    assert max(sampled(50_000)) < 50_000
