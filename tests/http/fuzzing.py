"""How wild bodies are tried, and what every answer to one has to be."""

from __future__ import annotations

import json

import httpx
from hypothesis import HealthCheck, settings

from tests.http import expect

fuzzing = settings(
    max_examples=600,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def check(response: httpx.Response) -> None:
    """An answer, never a 5xx, and every error in the one body."""
    assert response.status_code in {200, 400, 404, 413, 415}, response.text
    if response.status_code != 200:
        assert expect.is_the_one_error_body(response)
    else:
        assert json.loads(response.content)
