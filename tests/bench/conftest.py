"""A server of tiny models, and its address as the load generator takes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sekisho.bench.plan import Endpoint
from tests.http.live import Server, serving

MODEL = "tiny-bert-mean"


@pytest.fixture(scope="session")
def live(minilm_home: Path, tiny_registry: Path) -> Iterator[Server]:
    with serving(minilm_home, tiny_registry, engine="onnxruntime", cache_mib="0") as started:
        yield started


@pytest.fixture
def endpoint(live: Server) -> Endpoint:
    return Endpoint("sekisho", "127.0.0.1", live.port, model=MODEL)
