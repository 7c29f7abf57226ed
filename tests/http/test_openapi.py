"""The OpenAPI document is true: schemathesis, for a short while. `scripts/api-fuzz` is the long run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.http.api_fuzz import fuzz
from tests.http.live import Server


@pytest.mark.timeout(600)
def test_what_the_document_says_is_what_is_answered(server: Server, tmp_path: Path) -> None:
    found = fuzz(server.url, 5, tmp_path, seed=20261121)
    assert found.failures == []
    assert found.ended_well
    operations = {
        f"{m.upper()} {p}" for p, item in server.client.get("/openapi.json").json()["paths"].items() for m in item
    }
    assert set(found.cases) == operations - {"GET /openapi.json"}  # which schemathesis reads and does not try
    assert found.cases.total() > 500
    assert {status for _, status in found.statuses} <= {200, 400, 404, 405, 413, 415}
