"""A whole server in front of services that are processes or threads of their own."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.http.live import Server, serving
from tests.upstream.gateway import entry, rows_of
from tests.upstream.service import started
from tests.upstream.wire import KEY, vector

REQUESTS = 2_000
_TEXTS = [f"文 {i}" for i in range(50)]


@contextmanager
def serving_far(directory: Path, *entries: str, **settings: str) -> Iterator[Server]:
    """A server that has these models, all of them elsewhere."""
    models = directory / "far.yaml"
    models.write_text(f"version: 1\nmodels:\n{''.join(entries)}", "utf-8")
    with serving(directory, models, **({"log_level": "debug", "log_format": "json"} | settings)) as server:
        yield server


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_KEY", KEY)


@contextmanager
def running(kind: str, directory: Path, name: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A service in a process of its own, and its address."""
    port_file = directory / name
    command = [sys.executable, "-m", "tests.upstream.service", kind, str(port_file)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not port_file.exists() or not port_file.read_text():
            assert process.poll() is None, "the service did not start"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process, f"http://127.0.0.1:{port_file.read_text()}"
    finally:
        process.kill()
        process.wait()


def test_a_replica_killed_under_load_costs_no_request(tmp_path: Path) -> None:
    """2,000 requests, 32 at once; after 600 of them one of two replicas is killed with its calls under way."""
    with running("openai", tmp_path, "first") as (first, one), running("openai", tmp_path, "second") as (_, two):
        far = entry("openai", one, two, concurrency=16)
        with serving_far(tmp_path, far, log_level="warning") as server:
            began = time.monotonic()
            failed, wrong = asyncio.run(_load(server.port, first))
            seconds = time.monotonic() - began
            dropped = server.metric("sekisho_upstream_calls_total", outcome="dropped", replica=one[7:])
            through_first = server.metric("sekisho_upstream_calls_total", outcome="ok", replica=one[7:])
            through_second = server.metric("sekisho_upstream_calls_total", outcome="ok", replica=two[7:])
            assert server.metric("sekisho_upstream_open", replica=one[7:]) == 1
    print(f"{REQUESTS} requests in {seconds:.1f} s; calls that the killed replica dropped: {dropped:.0f}")
    assert failed == []
    assert wrong == 0
    assert dropped >= 1, "it was killed too late to matter"
    assert through_first >= 200
    assert through_first + through_second == REQUESTS


async def _load(port: int, victim: subprocess.Popen[bytes]) -> tuple[list[bytes], int]:
    """(answers that are no success, how many vectors were wrong)."""
    failed: list[bytes] = []
    wrong = 0
    waiting = iter(range(REQUESTS))

    async def work() -> None:
        nonlocal wrong
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in waiting:
            if number == 600:
                victim.send_signal(signal.SIGKILL)
            text = _TEXTS[number % len(_TEXTS)]
            status, content = await _post(reader, writer, {"model": "far", "input": text})
            if status != 200:
                failed.append(content)
            elif not np.array_equal(np.array(json.loads(content)["data"][0]["embedding"], np.float32), vector(text)):
                wrong += 1
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(work() for _ in range(32)))
    return failed, wrong


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: object) -> tuple[int, bytes]:
    """By hand: a client library costs more than the server it measures."""
    writer.write(_request(body))
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length:")[2].split("\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


def _request(body: object) -> bytes:
    content = json.dumps(body).encode()
    head = "POST /v1/embeddings HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


def test_neither_keys_nor_texts_are_logged(tmp_path: Path) -> None:
    secret_text = "とても秘密の文"
    with started("openai", stalls=0.5) as service:
        with serving_far(tmp_path, entry("openai", service.url, timeout="5s", retries=1)) as server:
            statuses = [server.embed(model="far", input=secret_text).status_code]
            service.faults.extend(["500", "401", "drop", "html", "empty", "429 0.05", "429 9"])
            statuses += [server.embed(model="far", input=secret_text).status_code for _ in range(5)]
            assert server.embed(model="far", input=[secret_text] * 3, dimensions=-1).status_code == 400
            metrics = server.client.get("/metrics").text
        log = server.log
    assert {200, 429, 502} <= set(statuses)
    assert "upstream_call" in log
    assert '"outcome": "failed"' in log
    assert '"outcome": "refused"' in log
    for hidden in (KEY, secret_text, "too many requests", "boom"):
        assert hidden not in log
        assert hidden not in metrics


def test_a_client_that_hangs_up_takes_the_call_with_it(tmp_path: Path) -> None:
    with started("openai", stalls=30) as service:
        service.faults.append("stall")
        with serving_far(tmp_path, entry("openai", service.url)) as server:
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(_request({"model": "far", "input": "a"}))
                while not service.calls:
                    time.sleep(0.01)
            assert service.calls[0].gone.wait(20), "the service was not told"
            server.wait_for_metric("sekisho_upstream_calls_total", 1, outcome="cancelled")
            assert server.embed(model="far", input="a").status_code == 200
            assert len(service.calls) == 2


def test_calls_under_way_are_finished_before_the_server_ends(tmp_path: Path) -> None:
    with started("openai", delay=1.0) as service:
        with serving_far(tmp_path, entry("openai", service.url)) as server:
            answers: list[httpx.Response] = []
            asking = threading.Thread(target=lambda: answers.append(server.embed(model="far", input="a")))
            asking.start()
            while not service.calls:
                time.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            asking.join(30)
            assert server.process.wait(30) in {0, -signal.SIGTERM}
        np.testing.assert_array_equal(rows_of(answers[0])[0], vector("a"))
        assert "Traceback" not in server.log


def test_a_service_that_is_down_does_not_stop_the_server(tmp_path: Path) -> None:
    with started("openai") as service:
        gone = service.url
    with serving_far(tmp_path, entry("openai", gone, more="preload: true")) as server:
        answer = server.embed(model="far", input="a")
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_failed")
        assert server.client.get("/readyz").status_code == 200
        assert server.client.get("/healthz").status_code == 200


def test_another_sekisho_gives_what_it_gives_itself(minilm_home: Path, tiny_registry: Path, tmp_path: Path) -> None:
    texts = ["動的計画法", "", "グラフ理論", "x" * 20]
    with serving(minilm_home, tiny_registry, engine="onnxruntime", api_keys=KEY) as back:
        far = entry("sekisho", f"{back.url}/v1", model="tiny-bert-mean")
        with serving_far(tmp_path, far) as front:
            back.client.headers["authorization"] = f"Bearer {KEY}"
            for fields in ({}, {"input_type": "query"}, {"dimensions": 8}, {"encoding_format": "base64"}):
                direct = back.embed({"model": "tiny-bert-mean", "input": texts, **fields}).json()
                through = front.embed({"model": "far", "input": texts, **fields}).json()
                assert through["data"] == direct["data"]
                assert through["usage"] == direct["usage"]
            cut = front.embed(model="far", input="語 " * 3000)
            assert cut.headers["x-sekisho-truncated"] == "1"
            refused = front.embed(model="far", input="語 " * 3000, truncate=False)
            assert refused.status_code == 400
            assert "tokens" in refused.json()["message"]
