"""A gateway with a key for its services."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.upstream.gateway import Gateway
from tests.upstream.wire import KEY


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Gateway]]:
    """Entries of models.yaml → a gateway with them, whose environment has the services' key."""
    monkeypatch.setenv("SERVICE_KEY", KEY)
    made: list[Gateway] = []

    def make(*entries: str, **settings: Any) -> Gateway:
        made.append(Gateway(tmp_path, *entries, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """No test waits between attempts, and none is too slow for an open breaker: both are tested as pure functions."""
    if "gateway" in request.fixturenames:
        monkeypatch.setattr("sekisho.runtime.remote.retries._FIRST_SECONDS", 0.01)
        monkeypatch.setattr("sekisho.runtime.remote.breaker.FIRST_SECONDS", 30.0)
