"""`--workers`: processes that answer as one, each on cores of its own, and what becomes of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from sekisho.runtime.machine import usable_cores
from tests.http.live import Server, serving

MINILM = "all-minilm-l6-v2"

two_cores = pytest.mark.skipif(usable_cores() < 2, reason="two workers need two cores, and this process may use one")


@pytest.fixture
def pair_with(
    minilm_home: Path, wire_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Server]]:
    """Settings → a server of two workers, which may have been started a moment ago."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            serving(minilm_home, wire_registry, engine="onnxruntime", workers="2", **settings)
        )


@pytest.fixture(scope="module")
def pair(minilm_home: Path, wire_registry: Path) -> Iterator[Server]:
    with serving(minilm_home, wire_registry, engine="onnxruntime", workers="2") as started:
        yield started


def workers_of(server: Server) -> list[psutil.Process]:
    """Python's own tracker of resources is a child as well."""
    try:
        children = psutil.Process(server.process.pid).children()
    except psutil.NoSuchProcess:
        return []
    return [child for child in children if "--multiprocessing-fork" in _command(child)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has just ended
        return []


def two_workers_of(server: Server, seconds: float = 30) -> list[psutil.Process]:
    """As soon as there are two processes; they may not answer yet."""
    deadline = time.monotonic() + seconds
    while len(found := workers_of(server)) < 2:
        assert time.monotonic() < deadline, server.log
        time.sleep(0.01)
    return found


def client_of_each(server: Server, stack: ExitStack) -> dict[int, httpx.Client]:
    """Process id of a worker → a client whose one connection that worker has accepted."""
    server.wait_for_metric("sekisho_workers", 2)
    workers, found = two_workers_of(server), dict[int, httpx.Client]()
    for _ in range(100):
        kept = httpx.Limits(keepalive_expiry=None)  # a second connection could be the other worker's
        client = stack.enter_context(httpx.Client(base_url=server.url, timeout=60, trust_env=False, limits=kept))
        port = client.get("/healthz").extensions["network_stream"].get_extra_info("client_addr")[1]
        found.setdefault(next(worker.pid for worker in workers if port in _peers(worker)), client)
        if len(found) == len(workers):
            return found
    pytest.fail(f"100 connections, all to {found}")


def _peers(process: psutil.Process) -> set[int]:
    """Ports at the other ends of its connections."""
    return {getattr(end.raddr, "port", 0) for end in process.net_connections()}


def embed(client: httpx.Client, *texts: str) -> httpx.Response:
    return client.post("/v1/embeddings", json={"input": texts, "model": MINILM, "encoding_format": "base64"})


def wait_until_embedded(server: Server, least: float) -> float:
    """Requests for vectors that all workers have answered; they are counted just after their answer."""
    return server.wait_for_metric("sekisho_requests_total", least, route="/v1/embeddings", status="200")


def slow_texts(count: int) -> list[str]:
    return [f"{number} " + "the cat " * 90 for number in range(count)]


class Later:
    """A request under way in a thread."""

    def __init__(self, client: httpx.Client, texts: list[str]) -> None:
        self._outcome: httpx.Response | httpx.TransportError | None = None
        self._thread = threading.Thread(target=self._run, args=(client, texts))
        self._thread.start()

    def _run(self, client: httpx.Client, texts: list[str]) -> None:
        try:
            self._outcome = embed(client, *texts)
        except httpx.TransportError as error:
            self._outcome = error

    def outcome(self) -> httpx.Response | httpx.TransportError | None:
        self._thread.join(90)
        return self._outcome


@two_cores
def test_workers_answer_alike_and_are_counted_together(pair: Server) -> None:
    with ExitStack() as stack:
        clients = client_of_each(pair, stack).values()
        before = wait_until_embedded(pair, 0)
        first, second = ([embed(client, "the cat", "関所").json()["data"] for _ in range(3)] for client in clients)
        assert first == second
        assert wait_until_embedded(pair, before + 6) == before + 6
        assert pair.metric("sekisho_model_loaded", model=MINILM) == 2
        for client in clients:
            assert client.get("/metrics").text.count('sekisho_loads_total{model="all-minilm-l6-v2"') == 1


@two_cores
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system keeps no process on cores")
def test_each_worker_has_cores_of_its_own(pair: Server) -> None:
    first, second = (set(worker.cpu_affinity()) for worker in two_workers_of(pair))
    assert first
    assert second
    assert not first & second
    assert first | second == os.sched_getaffinity(0)
    assert set(psutil.Process(pair.process.pid).cpu_affinity()) == os.sched_getaffinity(0)


@two_cores
def test_a_killed_worker_breaks_its_own_connections_only_and_comes_back(pair: Server) -> None:
    slow = slow_texts(40)
    with ExitStack() as stack:
        (victim, broken), (survivor, unharmed) = client_of_each(pair, stack).items()
        expected = embed(unharmed, slow[0]).json()["data"]
        answered = wait_until_embedded(pair, 1)
        under_way = Later(broken, slow)
        pair.wait_for_metric("sekisho_queue_tokens", 1_000, model=MINILM)
        psutil.Process(victim).kill()
        assert isinstance(under_way.outcome(), httpx.TransportError)
        assert embed(unharmed, slow[0]).json()["data"] == expected
        pair.wait_for_metric("sekisho_worker_restarts_total", 1)
        assert embed(broken, slow[0]).json()["data"] == expected, "sent again"
        assert pair.wait_for_metric("sekisho_workers", 2) == 2, "the dead one is not counted"
        pair.wait_until_idle()  # nor are the tokens that it left waiting
        assert wait_until_embedded(pair, answered + 2) >= answered + 2, "nor is anything forgotten"
        assert pair.metric("sekisho_worker_restarts_total") == 1
        assert {survivor} < {worker.pid for worker in two_workers_of(pair)}
    assert pair.log.count("worker_ended") == 1
    assert "SIGKILL" in pair.log


@two_cores
def test_sigterm_during_requests_of_both_workers(pair_with: Callable[..., Server], tmp_path: Path) -> None:
    server = pair_with(drain_seconds="90")
    slow = slow_texts(24)
    with ExitStack() as stack:
        clients = client_of_each(server, stack).values()
        tokens = [embed(client, slow[0]).json()["usage"]["prompt_tokens"] * len(slow) for client in clients]
        under_way = [Later(client, slow) for client in clients]
        server.wait_for_metric("sekisho_queue_tokens", tokens[0] * 1.1, model=MINILM)  # more than one of them
        server.process.send_signal(signal.SIGTERM)
        for outcome in (each.outcome() for each in under_way):
            assert isinstance(outcome, httpx.Response)
            assert len(outcome.json()["data"]) == len(slow)
    assert server.process.wait(60) == 0
    assert not [*tmp_path.glob("sekisho-*")], "nothing is left of the metrics"
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url, trust_env=False)
    assert "worker_ended" not in server.log


@two_cores
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_workers_start_ends_all_in_silence(pair_with: Callable[..., Server], number: int) -> None:
    """A terminal sends Ctrl-C to every process."""
    server = pair_with()
    workers = two_workers_of(server)
    server.process.send_signal(number)
    if number == signal.SIGINT:
        for worker in workers:
            worker.send_signal(number)
    assert server.process.wait(60) == 0
    assert psutil.wait_procs(workers, 30)[1] == []
    assert "Traceback" not in server.log
    assert "worker_ended" not in server.log


@two_cores
def test_workers_do_not_outlive_their_parent(pair_with: Callable[..., Server]) -> None:
    server = pair_with()
    workers = two_workers_of(server)
    server.process.kill()
    assert psutil.wait_procs(workers, 30)[1] == []


@two_cores
def test_a_worker_that_never_comes_up_ends_the_server(pair_with: Callable[..., Server]) -> None:
    server = pair_with()
    deadline = time.monotonic() + 60
    while "times in a row" not in server.log:
        assert time.monotonic() < deadline, server.log
        for worker in workers_of(server)[:1]:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        time.sleep(0.01)
    assert server.process.wait(60) == 1
    assert "SIGKILL" in server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize(("workers", "status", "reason"), [("0", 2, "WORKERS"), ("4096", 1, "SEKISHO_WORKERS")])
def test_a_number_of_workers_that_cannot_be(workers: str, status: int, reason: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sekisho", "serve", "--port", "0", "--workers", workers]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert ended.returncode == status
    assert reason in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
