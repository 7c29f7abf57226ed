"""A small variant of `scripts/load`."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.runtime.machine import this_machine
from sekisho.runtime.select import choose
from tests.http.live import Server, serving
from tests.http.load_proof import (
    LEAST_COSINE,
    LEAST_COSINE_INVARIANT,
    MODEL,
    Candidates,
    burst,
    candidates,
    judge,
    judge_afterwards,
    storm,
    warm,
)


@pytest.fixture(scope="session")
def known(minilm_home: Path, wire_registry: Path) -> Candidates:
    return candidates(minilm_home, wire_registry, "onnxruntime", count=120)


def test_clients_that_hang_up_harm_nobody(server: Server, known: Candidates) -> None:
    warm(server, known)
    threads, resident = server.threads, server.resident_bytes
    result = storm(server, known, requests=300, concurrency=32)
    assert judge(result, LEAST_COSINE_INVARIANT) == []
    assert 10 < result.left < 60
    assert judge_afterwards(server, threads, resident) == []


def test_fifty_first_requests_are_one_load_on_the_engine_of_this_machine(
    minilm_home: Path, wire_registry: Path
) -> None:
    """And what comes after them is right too, in the number format this machine computes in."""
    least = LEAST_COSINE[choose(this_machine(), "auto", "auto").precision]
    known = candidates(minilm_home, wire_registry, "auto", count=60)
    with serving(minilm_home, wire_registry) as cold:
        assert judge(burst(cold, known), least) == []
        assert cold.metric("sekisho_loads_total", model=MODEL) == 1
        assert cold.metric("sekisho_loads_total", model=MODEL, outcome="loaded") == 1
        assert judge(storm(cold, known, requests=100, concurrency=32), least) == []
        cold.wait_until_idle()
