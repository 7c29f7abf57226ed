"""What another service has answered once is neither asked again nor billed again, and is the same answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.redis_server import running
from tests.upstream.gateway import Gateway, entry, rows_of
from tests.upstream.service import started
from tests.upstream.wire import count

MakeGateway = Callable[..., Gateway]
KEPT = {"cache_mib": 8}


def metric(front: Gateway, name: str) -> float:
    """Of the model `far`; it counts on from test to test."""
    lines = front.get("/metrics").text.splitlines()
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith(f'sekisho_cache_{name}_total{{model="far"}}')
    )


def test_a_request_that_is_sent_again_is_answered_without_a_call(gateway: MakeGateway) -> None:
    with started("openai") as service:
        front = gateway(entry("openai", service.url + "/v1"), **KEPT)
        hits = metric(front, "hits")
        first, second = front.embed("a", "bb"), front.embed("a", "bb")
        assert len(service.calls) == 1
        assert first.json() == second.json()
        assert second.json()["usage"]["prompt_tokens"] == count("a", "bb")
        assert second.headers["x-inference-ms"] == "0.00"
        assert metric(front, "hits") == hits + 2


@pytest.mark.parametrize(
    "other", [{"input": ["bb", "a"]}, {"input": ["a"]}, {"dimensions": 4}, {"truncate": False}, {"input_type": "query"}]
)
def test_another_request_is_another_call(gateway: MakeGateway, other: dict[str, Any]) -> None:
    with started("sekisho") as service:
        front = gateway(entry("sekisho", service.url + "/v1"), **KEPT)
        front.embed("a", "bb")
        before = len(service.calls)
        answer = front.post("/v1/embeddings", **{"model": "far", "input": ["a", "bb"]} | other)
        assert answer.status_code == 200, answer.text
        assert len(service.calls) == before + 1


def test_a_contract_is_learned_before_anything_is_looked_up(gateway: MakeGateway) -> None:
    """A server that starts beside a Redis with its answers in it cuts and normalises like the one that put them in."""
    with started("openai") as service, running() as redis:
        asked = {"entries": [entry("openai", service.url + "/v1", more="allow_truncate_dimensions: true")]}
        answers = []
        for _ in range(2):
            front = gateway(*asked["entries"], **KEPT, redis_url=redis.url)
            answers.append(front.embed("a", dimensions=3))
            front.embed("a", dimensions=3)
            front.embed("b")
        assert rows_of(answers[0]).tobytes() == rows_of(answers[1]).tobytes()
        assert len(service.calls) == 3  # the first server's two, and one from which the second learned


def test_requests_at_once_are_one_call(gateway: MakeGateway) -> None:
    with started("openai", delay=0.1) as service:
        front = gateway(entry("openai", service.url + "/v1"), **KEPT)
        joined = metric(front, "joined")
        answers = front.embed_all(8, "a", "b")
        assert len(service.calls) == 1
        assert len({rows_of(answer).tobytes() for answer in answers}) == 1
        assert metric(front, "joined") == joined + 14


def test_a_failure_is_not_kept_and_each_asks_for_itself(gateway: MakeGateway) -> None:
    with started("openai", delay=0.05) as service:
        front = gateway(entry("openai", service.url + "/v1", retries=0), **KEPT)
        service.faults.append("500")
        statuses = sorted(answer.status_code for answer in front.embed_all(4, "a"))
        assert statuses == [200, 200, 200, 502]
        assert front.embed("a").status_code == 200
        assert len(service.calls) == 4


def test_scores_are_kept_with_what_they_are(gateway: MakeGateway) -> None:
    with started("cohere") as service:
        front = gateway(entry("cohere", service.url, kind="reranker"), **KEPT)
        one, other = front.scores("q", "a", "b"), front.scores("q", "a", "b")
        assert len(service.calls) == 1
        assert one.scored
        assert other.scored
        assert one.rows.tobytes() == other.rows.tobytes()
        front.scores("q", "a", "b", document_tokens=5)
        front.scores("q2", "a", "b")
        assert len(service.calls) == 3


def test_a_very_long_request_is_not_kept(gateway: MakeGateway) -> None:
    with started("vllm") as service:
        front = gateway(entry("vllm", service.url + "/v1"), **KEPT)
        texts = [f"{number} {'x' * 5000}" for number in range(14)]
        for _ in range(2):
            assert front.embed(*texts).status_code == 200
        assert len(service.calls) == 2
