"""What an answer means and how long to wait, without a clock, dice or network."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from sekisho.runtime.remote.retries import FAILURES, RETRIED, backoff, meaning, message_of, retry_after

NOW = datetime(2026, 11, 21, 10, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT"}, 30),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:30 +0200"}, 30),
        ({"retry-after": "Saturday, 21-Nov-26 10:01:00 GMT"}, 60),
        ({"retry-after": "Sat, 21 Nov 2026 09:59:00 GMT"}, 0),
        ({"retry-after": "30", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "30", "retry-after-ms": "soon"}, 30),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_how_long_a_service_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        ([200], "ok"),
        ([429], "limited"),
        ([500, 502, 503, 504, 529, 408, 409, 424, 425], "failed"),
        ([400, 413, 422], "rejected"),
        ([401, 402, 403, 404, 405, 410, 415, 301, 302, 307, 308, 204], "refused"),
    ],
)
def test_what_a_status_says(statuses: list[int], outcome: str) -> None:
    assert [meaning(status) for status in statuses] == [outcome] * len(statuses)


def test_what_is_wrong_with_the_request_is_never_tried_again() -> None:
    assert not RETRIED & {"ok", "rejected", "refused"}
    assert RETRIED - {"limited"} == FAILURES


def test_waits_double_and_differ() -> None:
    assert [backoff(attempt, 1.0) for attempt in range(1, 8)] == [0.25, 0.5, 1, 2, 4, 4, 4]
    assert [backoff(attempt, 0.0) for attempt in range(1, 4)] == [0.125, 0.25, 0.5]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"error": {"message": "bad input", "type": "x", "code": None}}, "bad input"),
        ({"message": "too many texts"}, "too many texts"),
        ({"detail": "no such thing"}, "no such thing"),
        ({"error": "batch size 40 > maximum allowed batch size 32", "error_type": "Validation"},
         "batch size 40 > maximum allowed batch size 32"),
        ({"detail": [{"loc": ["body", "input"], "msg": "field required"}, {"msg": "second"}]},
         "field required; second"),
        ({"error": {"message": "lines\nand\ttabs"}}, "lines and tabs"),
        ({"error": None, "message": "m"}, "m"),
        ({"status": 3}, ""),
        ([], ""),
        (7, ""),
    ],
)  # fmt: skip
def test_what_an_error_says_however_it_is_shaped(values: Any, message: str) -> None:
    assert message_of(values) == message


def test_a_long_message_is_cut() -> None:
    assert message_of({"error": "x" * 10_000}) == "x" * 500 + "…"
