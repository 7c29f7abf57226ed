"""A server to be measured, in a process of its own on a free port of loopback."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from sekisho.bench.plan import Endpoint

_LOOPBACK = "127.0.0.1"
_PATIENCE_SECONDS = 120
#: Between two tries to connect: far below what is measured with it.
_TRY_SECONDS = 0.005
_STOP_SECONDS = 60
_MIB = 2**20
_BOUND = re.compile(r'le="([^"]+)"')


class ServerFailed(Exception):
    """A server that was to be measured did not start; the message ends with what it logged."""


@dataclass(frozen=True)
class Question:
    """A request that a server answers with 200 once it works."""

    method: str
    path: str
    body: dict[str, str] | None = None


@dataclass(frozen=True)
class Served:
    """A server that answers. first_vector_seconds: from the start of its process to the first vector it gave."""

    endpoint: Endpoint
    process: psutil.Process
    first_vector_seconds: float

    @property
    def resident_mib(self) -> float:
        """Of the process and its children."""
        tree = [self.process, *self.process.children(recursive=True)]
        return sum(process.memory_info().rss for process in tree) / _MIB

    @property
    def cpu_seconds(self) -> float:
        """Of the process and its children, user and system."""
        tree = [self.process, *self.process.children(recursive=True)]
        return sum(process.cpu_times().user + process.cpu_times().system for process in tree)

    def metric(self, name: str) -> float:
        """The sum of a counter over its labels."""
        return sum(value for found, value in self._metrics() if found == name)

    def buckets(self, name: str) -> list[tuple[float, float]]:
        """A histogram's upper bounds and how many lie below or at each, over its labels; the last bound is infinite."""
        found: dict[float, float] = {}
        for line, value in self._lines():
            bound = _BOUND.search(line)
            if bound is not None and line.startswith(f"{name}_bucket{{"):
                found[float(bound[1])] = found.get(float(bound[1]), 0.0) + value
        return sorted(found.items())

    def _metrics(self) -> Iterator[tuple[str, float]]:
        return ((line.partition("{")[0], value) for line, value in self._lines())

    def _lines(self) -> Iterator[tuple[str, float]]:
        request = urllib.request.Request(f"http://{self.endpoint.host}:{self.endpoint.port}/metrics")
        if self.endpoint.key:
            request.add_header("authorization", f"Bearer {self.endpoint.key}")
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - http, as written above
            for line in answer.read().decode().splitlines():
                if not line.startswith("#"):
                    name, value = line.rsplit(" ", 1)
                    yield name, float(value)


def free_port() -> int:
    """A port of loopback that nobody listened on a moment ago."""
    with socket.create_server((_LOOPBACK, 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def sekisho(
    model: str | None,
    variables: Mapping[str, str] | None = None,
    *,
    key: str | None = None,
    width: int = 0,
    first: Question | None = None,
) -> Iterator[Served]:
    """This very program, serving on loopback under this environment and `variables`. Raises ServerFailed.

    first: as for `serving`.
    """
    port = free_port()
    command = [sys.executable, "-m", "sekisho", "serve", "--host", _LOOPBACK, "--port", str(port)]
    environment = os.environ | {"SEKISHO_LOG_LEVEL": "warning"} | dict(variables or {})
    # An installation has its bytecode; to compile it at each start would be most of the time to the first vector.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def launch(log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as written:
            return subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT, env=environment)  # noqa: S603 - us

    endpoint = Endpoint("sekisho", _LOOPBACK, port, model=model, key=key, width=width)
    with serving(endpoint, launch, first) as served:
        yield served


@contextmanager
def serving(
    endpoint: Endpoint, launch: Callable[[Path], subprocess.Popen[bytes]], first: Question | None = None
) -> Iterator[Served]:
    """A server once it has answered the `first` question, by default with a vector; ended with the block.

    launch: starts it, with a file for what it logs. Raises ServerFailed.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        began = time.perf_counter()
        process = launch(log)
        try:
            _wait(endpoint, process, log, first or _for_a_vector(endpoint))
            yield Served(endpoint, psutil.Process(process.pid), time.perf_counter() - began)
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """As a person would, then by force."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(endpoint: Endpoint, process: subprocess.Popen[bytes], log: Path, question: Question) -> None:
    """Connects until somebody listens, then asks once."""
    deadline = time.perf_counter() + _PATIENCE_SECONDS
    while process.poll() is None and time.perf_counter() < deadline:
        try:
            socket.create_connection((endpoint.host, endpoint.port), timeout=1).close()
        except OSError:
            time.sleep(_TRY_SECONDS)
            continue
        status, said = _ask(endpoint, question)
        if status == http.client.OK:
            return
        raise ServerFailed(f"{endpoint.name} answered {status}: {said}\n{_end_of(log)}")
    raise ServerFailed(f"{endpoint.name} did not start: {_end_of(log)}")


def _for_a_vector(endpoint: Endpoint) -> Question:
    body = {"input": "warm", "encoding_format": endpoint.encoding}
    return Question("POST", endpoint.path, body | ({"model": endpoint.model} if endpoint.model else {}))


def _ask(endpoint: Endpoint, question: Question) -> tuple[int, str]:
    headers = {"content-type": "application/json"}
    if endpoint.key:
        headers["authorization"] = f"Bearer {endpoint.key}"
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=_PATIENCE_SECONDS)
    try:
        body = None if question.body is None else json.dumps(question.body)
        connection.request(question.method, question.path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()[:500].decode("utf-8", "replace")
    finally:
        connection.close()


def _end_of(log: Path) -> str:
    return log.read_text("utf-8", "replace").strip()[-1000:]
