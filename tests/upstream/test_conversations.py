"""A recorded conversation with each kind of service: what our client sees, and how many calls it took."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.http.expect import is_the_one_error_body
from tests.upstream.gateway import Gateway, entry, rows_of
from tests.upstream.service import started
from tests.upstream.wire import KEY, WIRES, count, logit, score, vector

KINDS = sorted(WIRES)
MakeGateway = Callable[..., Gateway]

TEXTS = ["動的計画法", "graph theory", "動的計画法", " ", "x" * 300]
#: What a text is embedded as where the request says nothing of it.
UNSAID = {"cohere": "search_document"}

#: Faults of the calls → the answer's status and code, its Retry-After, how many calls.
CONVERSATIONS = {
    "success": ([], 200, "", None, 1),
    "no key there": (["401"], 502, "upstream_refused", None, 1),
    "not allowed": (["403"], 502, "upstream_refused", None, 1),
    "out of credit": (["402"], 502, "upstream_refused", None, 1),
    "come later": (["429 7"], 429, "upstream_limited", "7", 1),
    "come much later": (["429 3600"], 429, "upstream_limited", "60", 1),
    "come soon": (["429 0.1"], 200, "", None, 2),
    "500, then success": (["500"], 200, "", None, 2),
    "500 for good": (["500"] * 9, 502, "upstream_failed", None, 3),
    "loading": (["503 20"], 503, "upstream_unavailable", "20", 1),
    "no answer": (["stall"] * 9, 504, "upstream_timeout", None, 1),
    "dropped, then success": (["drop"], 200, "", None, 2),
    "dropped for good": (["drop"] * 9, 502, "upstream_failed", None, 3),
    "dropped within the body": (["drop_within"] * 9, 502, "upstream_failed", None, 3),
    "no JSON": (["html"] * 9, 502, "upstream_failed", None, 3),
    "another JSON": (["empty"] * 9, 502, "upstream_failed", None, 3),
    "one too few": (["short"] * 9, 502, "upstream_failed", None, 3),
    "slow body": (["drip"] * 9, 504, "upstream_timeout", None, 1),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_what_a_client_sees(gateway: MakeGateway, kind: str, name: str) -> None:
    faults, status, code, retry_after, calls = CONVERSATIONS[name]
    with started(kind, stalls=2.0) as service:
        front = gateway(entry(kind, service.url, timeout="1s" if status == 504 else "10s"))
        service.faults.extend(faults)
        answer = front.embed(*TEXTS[:2])
        assert len(service.calls) == calls
    assert answer.status_code == status, answer.text
    assert answer.headers.get("retry-after") == retry_after
    if status == 200:
        expected = np.stack([vector(text, kind=UNSAID.get(kind)) for text in TEXTS[:2]])
        np.testing.assert_array_equal(rows_of(answer), expected)
        return
    assert is_the_one_error_body(answer)
    assert answer.json()["error"]["code"] == code
    assert answer.headers.get("x-should-retry") == ("false" if code == "upstream_refused" else None)
    assert KEY not in answer.text
    assert "boom" not in answer.text
    if name in {"no key there", "not allowed"}:
        assert "SERVICE_KEY" in answer.json()["message"]


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_in_order_and_tokens_counted(gateway: MakeGateway, kind: str) -> None:
    with started(kind) as service:
        answer = gateway(entry(kind, service.url)).embed(*TEXTS)
        expected = [vector(text, kind=UNSAID.get(kind)) for text in TEXTS]
        np.testing.assert_array_equal(rows_of(answer), np.stack(expected))
        assert answer.json()["usage"]["prompt_tokens"] == count(*TEXTS)
        assert {call.headers["authorization"] for call in service.calls} == {f"Bearer {KEY}"}
        assert {call.headers["x-request-id"] for call in service.calls} == {answer.headers["x-request-id"]}


@pytest.mark.parametrize("kind", KINDS)
def test_many_texts_become_calls_within_the_limits(gateway: MakeGateway, kind: str) -> None:
    texts = [f"text {i}" for i in range(700)]
    with started(kind) as service:
        front = gateway(entry(kind, service.url))
        answer = front.embed(*texts)
        np.testing.assert_array_equal(
            rows_of(answer), np.stack([vector(text, kind=UNSAID.get(kind)) for text in texts])
        )
        assert answer.json()["usage"]["total_tokens"] == count(*texts)
        first = len(service.calls)
        assert first >= {"cohere": 8, "jina": 2, "voyage": 6, "tei": 35, "vllm": 2}.get(kind, 1)
        assert service.most_running <= 8
        front.embed(*texts)
        # text-embeddings-inference says its limit when it is passed; after that it is known.
        assert len(service.calls) - first == {"tei": 35}.get(kind, first)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_in_order_whatever_the_service_sorts_by(gateway: MakeGateway, kind: str) -> None:
    documents = [f"document {i}" for i in range(70)]
    with started(kind) as service:
        found = gateway(entry(kind, service.url, kind="reranker")).scores("問い", *documents)
    if kind == "tei":
        assert not found.scored
        assert found.rows[:, 0].tolist() == [logit("問い", text) for text in documents]
    else:
        assert found.scored
        assert found.rows[:, 0].tolist() == [score("問い", text) for text in documents]
    assert found.rows.shape == (70, 1)
    assert found.tokens == (0 if kind == "cohere" else count(*documents))


@pytest.mark.parametrize("kind", KINDS)
def test_scores_survive_a_failure(gateway: MakeGateway, kind: str) -> None:
    with started(kind) as service:
        service.faults.extend(["500", "drop"])
        found = gateway(entry(kind, service.url, kind="reranker")).scores("q", "a", "")
        assert len(service.calls) == 3
    blank = "" if kind == "sekisho" else " "
    expected = (logit if kind == "tei" else score)("q", blank)
    assert found.rows[1, 0] == np.float32(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_text_has_a_vector(gateway: MakeGateway, kind: str) -> None:
    with started(kind) as service:
        rows = rows_of(gateway(entry(kind, service.url)).embed("", "a"))
    blank = "" if kind == "sekisho" else " "
    np.testing.assert_array_equal(rows[0], vector(blank, kind=UNSAID.get(kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_that_is_too_long_is_cut_or_refused_as_asked(gateway: MakeGateway, kind: str) -> None:
    with started(kind) as service:
        front = gateway(entry(kind, service.url))
        cut = front.embed("x" * 9000)
        refused = front.embed("x" * 9000, truncate=False)
        assert len(service.calls) == 2, "what is wrong with a request stays wrong"
    assert refused.status_code == 400
    assert "longer than 8192" in refused.json()["message"], "the service's own words"
    if kind == "openai":  # it cannot be asked to cut
        assert cut.status_code == 400
    else:
        assert cut.status_code == 200
    assert cut.headers.get("x-sekisho-truncated") == ("1" if kind == "sekisho" else None)


def test_an_answer_without_an_end_or_packed_wrongly_is_none(
    gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started("openai") as service:
        front = gateway(entry("openai", service.url, retries=0))
        service.faults.append("packed")
        assert front.embed("a").json()["error"]["code"] == "upstream_failed"
        monkeypatch.setattr("sekisho.runtime.remote.transport._MOST_BYTES", 100)
        answer = front.embed("a")
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_failed")
        assert "unreadable" in answer.json()["message"]
