"""Servers for the tests of the wire: open, behind keys, with tight limits; and the application in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sekisho.assemble import Parts, assemble
from sekisho.http.app import DIALECTS, create_app
from sekisho.settings import Settings
from tests.http.live import Server, serving
from tests.http.wire import write_wire_registry

KEYS = ("first-key-0123456789", "second-key-9876543210")


@pytest.fixture(scope="session")
def wire_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with one model for each thing a client can run into."""
    return write_wire_registry(tmp_path_factory.mktemp("wire"))


@pytest.fixture(scope="session")
def server(minilm_home: Path, wire_registry: Path) -> Iterator[Server]:
    """Open to all, on ONNX Runtime, so that vectors are those of the goldens."""
    with serving(minilm_home, wire_registry, engine="onnxruntime", log_level="debug", log_format="json") as started:
        yield started


@pytest.fixture(scope="session")
def keyed(minilm_home: Path, wire_registry: Path) -> Iterator[Server]:
    """Behind keys."""
    with serving(minilm_home, wire_registry, engine="onnxruntime", api_keys=", ".join(KEYS)) as started:
        yield started


@pytest.fixture(scope="session")
def tight(minilm_home: Path, wire_registry: Path) -> Iterator[Server]:
    """Small limits, one lane."""
    limits = {"max_body_mib": "0.5", "max_queue_tokens": "2000", "max_request_tokens": "50000", "threads": "1"}
    with serving(minilm_home, wire_registry, engine="onnxruntime", **limits) as started:
        yield started


def documented_examples() -> dict[str, dict[str, Any]]:
    """The body that the documentation shows for each path that takes one, its other names included."""
    return {
        path: dict(operation.example)
        for dialect in DIALECTS
        for operation in dialect.operations
        if operation.example is not None
        for path in operation.paths
    }


class InProcess:
    """The application without a socket, on an event loop that lives as long as this does."""

    def __init__(self, settings: Settings) -> None:
        self.parts: Parts = assemble(settings)
        self._runner = asyncio.Runner()
        self.app = create_app(self.parts)
        transport = httpx.ASGITransport(self.app)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://in-process")

    def request(self, method: str, path: str, **rest: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, path, **rest))

    def post(self, path: str, **rest: Any) -> httpx.Response:
        return self.request("POST", path, **rest)

    def get(self, path: str, **rest: Any) -> httpx.Response:
        return self.request("GET", path, **rest)

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.run(self.parts.pool.close())
        self._runner.close()


@pytest.fixture(scope="session")
def in_process_with(minilm_home: Path, wire_registry: Path) -> Iterator[Callable[..., InProcess]]:
    """Settings → the application in this process."""
    made: list[InProcess] = []

    def make(**settings: Any) -> InProcess:
        values: dict[str, Any] = {
            "models": wire_registry,
            "home": minilm_home,
            "engine": "onnxruntime",
            "offline": True,
            "cache_mib": 0,
        } | settings
        made.append(InProcess(Settings(**values)))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="session")
def in_process(in_process_with: Callable[..., InProcess]) -> InProcess:
    """The application in this process, without keys."""
    return in_process_with()
