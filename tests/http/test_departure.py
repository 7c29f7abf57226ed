"""Clients that hang up, and a server that is told to stop."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.http import expect
from tests.http.live import Server, serving

MINILM = "all-minilm-l6-v2"


def send(server: Server, body: dict[str, Any]) -> socket.socket:
    """Send a request and leave the answer on the wire."""
    payload = json.dumps(body).encode()
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    head = f"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: {len(payload)}\r\n\r\n"
    connection.sendall(head.encode() + payload)
    return connection


class Later:
    """A request under way in a thread."""

    def __init__(self, server: Server, body: dict[str, Any]) -> None:
        self._answers: list[httpx.Response] = []
        self._thread = threading.Thread(target=lambda: self._answers.append(server.embed(body)))
        self._thread.start()

    def answer(self) -> httpx.Response:
        self._thread.join(60)
        return self._answers[0]


def texts(prefix: str, count: int) -> list[str]:
    return [f"{prefix} {number} " + "the cat " * 90 for number in range(count)]


def test_the_work_of_a_client_that_hangs_up_is_dropped_and_others_are_unharmed(server: Server) -> None:
    """The one that leaves waits behind a longer request of another, so none of it has begun."""
    expected = expect.vectors(server.embed(input="another", model=MINILM))
    dropped = server.metric("sekisho_dropped_total", model=MINILM)
    tokens = server.metric("sekisho_tokens_total", model=MINILM)
    gone = server.metric("sekisho_requests_total", route="/v1/embeddings", status="499")
    staying = {"input": texts("staying", 70), "model": MINILM}
    stays = Later(server, staying)
    waiting = server.wait_for_metric("sekisho_queue_tokens", 5_000, model=MINILM)
    leaves = send(server, {"input": texts("leaving", 150), "model": MINILM})
    server.wait_for_metric("sekisho_queue_tokens", waiting + 10_000, model=MINILM)
    leaves.close()
    interactive = server.embed(input="another", model=MINILM)
    np.testing.assert_allclose(expect.vectors(interactive), expected, atol=1e-5)
    served = stays.answer()
    assert expect.vectors(served).shape == (70, 384)
    server.wait_until_idle()
    assert server.metric("sekisho_dropped_total", model=MINILM) == dropped + 150
    ran = server.metric("sekisho_tokens_total", model=MINILM) - tokens
    assert ran == served.json()["usage"]["prompt_tokens"] + interactive.json()["usage"]["prompt_tokens"]
    assert server.metric("sekisho_requests_total", route="/v1/embeddings", status="499") == gone + 1
    assert server.client.get("/readyz").status_code == 200
    rows = expect.vectors(server.embed(input=staying["input"][::9], model=MINILM))
    np.testing.assert_allclose(expect.vectors(served)[::9], rows, atol=1e-5)


def test_a_client_that_hangs_up_while_sending(server: Server) -> None:
    gone = server.metric("sekisho_requests_total", status="499")
    for part in (b"", b'{"input": "a'):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n" + part)
        time.sleep(0.05)
        connection.close()
    server.wait_for_metric("sekisho_requests_total", gone + 2, status="499")
    assert server.embed(input="a").status_code == 200
    assert "Traceback" not in server.log


def test_a_client_that_hangs_up_before_its_answer_is_read(server: Server) -> None:
    for _ in range(20):
        send(server, {"input": "a"}).close()
    assert server.embed(input="a").status_code == 200
    server.wait_until_idle()
    assert "Traceback" not in server.log


def test_bytes_that_are_no_http(server: Server) -> None:
    for nonsense in (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"\r\n" * 10):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(nonsense)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1000)
    assert server.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_the_server_finishes_what_it_has(
    minilm_home: Path, wire_registry: Path, stop: signal.Signals
) -> None:
    with serving(minilm_home, wire_registry, engine="onnxruntime") as server:
        running = Later(server, {"input": texts("last", 60), "model": MINILM})
        server.wait_for_metric("sekisho_queue_tokens", 2_000, model=MINILM)
        server.process.send_signal(stop)
        assert expect.vectors(running.answer()).shape == (60, 384)
        assert server.process.wait(20) in {0, -stop, 128 + stop}
        with pytest.raises(httpx.ConnectError), httpx.Client(trust_env=False) as client:
            client.get(server.url + "/healthz")
        assert "Traceback" not in server.log
