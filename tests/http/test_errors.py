"""One error body from everywhere, request ids, and what a failure says about trying again."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
import structlog
from starlette.routing import Route

from sekisho.errors import NotReady, OutOfMemory, Overloaded, SekishoError, SourceUnreachable
from sekisho.observability import configure_logging
from sekisho.service.embed import Embedded, EmbedRequest
from sekisho.settings import Settings
from tests.http import expect
from tests.http.conftest import InProcess
from tests.http.live import Server


def paths(app: InProcess) -> list[tuple[str, set[str]]]:
    """Every path with all of its methods, a parameter filled in."""
    found: dict[str, set[str]] = {}
    for route in app.app.routes:
        assert isinstance(route, Route)
        path = re.sub(r"{\w+(:path)?}", "something", route.path)
        found.setdefault(path, set()).update(route.methods or set())
    return sorted(found.items())


def test_a_path_that_does_not_exist(server: Server) -> None:
    for path in ("/nothing", "/v1", "/v1/", "/v1/embeddings/", "/v2/embeddings", "/%2F", "/docs/a/b", "/%00", "/猫"):
        for method in ("GET", "POST", "DELETE"):
            message = expect.failed(server.client.request(method, path), 404, "route_not_found")
            assert message.startswith(f"There is no {method} /")


def test_a_method_that_is_not_offered(server: Server, in_process: InProcess) -> None:
    for path, methods in paths(in_process):
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} - methods:
            response = server.client.request(method, path)
            message = expect.failed(response, 405, "method_not_allowed")
            assert set(response.headers["allow"].split(", ")) == methods
            assert all(offered in message for offered in methods)


def test_every_route_that_takes_a_body_refuses_a_bad_one_alike(server: Server, in_process: InProcess) -> None:
    takes_body = [path for path, methods in paths(in_process) if "POST" in methods]
    assert len(takes_body) >= 5
    for path in takes_body:
        tei = path in expect.TEI
        for content in (b"{", b"", b"[]"):
            expect.failed(server.client.post(path, content=content), 400, "invalid_request", tei=tei)
        form = server.client.post(path, data={"input": "a"})
        expect.failed(form, 415, "unsupported_media_type", tei=tei)


def test_every_route_that_takes_a_body_has_a_limit(tight: Server, in_process: InProcess) -> None:
    for path, methods in paths(in_process):
        if "POST" in methods:
            too_large = tight.client.post(path, json={"input": "a" * 600_000})
            expect.failed(too_large, 413, "request_too_large", tei=path in expect.TEI)


@pytest.mark.parametrize("sane", ["a", "req_123", "6f1c2b0a-9a0e-4a59-8d6e-0c6a3c2b1d0e", "A.b_c:d-1", "x" * 128])
def test_a_sane_request_id_is_kept(server: Server, sane: str) -> None:
    for path in ("/healthz", "/nothing", "/v1/models"):
        assert server.client.get(path, headers={"x-request-id": sane}).headers["x-request-id"] == sane


@pytest.mark.parametrize("insane", ["", "x" * 129, "a b", "<script>", "a/b", "a\tb", "é", "a,b", '"'])
def test_an_insane_request_id_is_replaced(server: Server, insane: str) -> None:
    given = {b"x-request-id": insane.encode()}
    answered = server.client.get("/healthz", headers=given).headers["x-request-id"]
    assert re.fullmatch(r"req_[0-9a-f]{24}", answered)


def test_request_ids_are_not_repeated(server: Server) -> None:
    ids = {server.client.get("/healthz").headers["x-request-id"] for _ in range(50)}
    assert len(ids) == 50


def test_a_request_id_is_in_the_log_of_its_request(server: Server) -> None:
    server.client.get("/nothing", headers={"x-request-id": "find-me-1"})
    # The line is written before the answer is read, but it comes through a pipe that a thread reads.
    deadline = time.monotonic() + 10
    while '"request_id": "find-me-1"' not in server.log:
        assert time.monotonic() < deadline, server.log[-2000:]
        time.sleep(0.02)


# --- failures in the server ---

Failing = Callable[[Exception], InProcess]


@pytest.fixture
def failing(in_process: InProcess, monkeypatch: pytest.MonkeyPatch) -> Failing:
    """An application whose service raises."""

    def make(error: Exception) -> InProcess:
        async def embed(_self: object, _request: EmbedRequest) -> Embedded:
            raise error

        monkeypatch.setattr(type(in_process.parts.embed), "embed", embed)
        return in_process

    return make


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embed"])
def test_our_own_faults_hold_no_detail_and_are_not_to_be_tried_again(failing: Failing, path: str) -> None:
    app = failing(RuntimeError("secret /srv/path"))
    response = app.post(path, json={"input": "a", "texts": ["a"]})
    message = expect.failed(response, 500, "internal_error")
    assert "secret" not in message
    assert "RuntimeError" not in message


def test_our_own_faults_in_the_shape_of_tei(failing: Failing) -> None:
    response = failing(RuntimeError("secret")).post("/embed", json={"inputs": "a"})
    expect.failed(response, 500, "", tei=True)
    assert response.json()["error_type"] == "Backend"


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (Overloaded("m"), 429, "overloaded", "1"),
        (SourceUnreachable("m"), 503, "source_unreachable", "30"),
        (NotReady("m", retry_after_seconds=900), 503, "not_ready", "60"),
        (NotReady("m", retry_after_seconds=0), 503, "not_ready", "1"),
        (OutOfMemory("m"), 507, "out_of_memory", "30"),
    ],
)
def test_when_to_try_again(failing: Failing, error: SekishoError, status: int, code: str, retry_after: str) -> None:
    response = failing(error).post("/v1/embeddings", json={"input": "a"})
    expect.failed(response, status, code)
    assert response.headers["retry-after"] == retry_after
    assert response.headers["retry-after-ms"] == f"{retry_after}000"


def test_a_model_that_an_offline_server_lacks_is_not_worth_a_retry(failing: Failing) -> None:
    response = failing(SourceUnreachable("m", permanent=True)).post("/v1/embeddings", json={"input": "a"})
    assert response.headers["x-should-retry"] == "false"


def test_a_message_that_quotes_no_valid_unicode_is_still_an_answer(failing: Failing) -> None:
    response = failing(Overloaded("quoted: \ud83d")).post("/v1/embeddings", json={"input": "a"})
    assert expect.failed(response, 429, "overloaded") == "quoted: \\ud83d"


@pytest.fixture
def restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("restore_logging")
@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_traceback_in_the_log_holds_neither_keys_nor_texts(
    failing: Failing, log_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    configure_logging(Settings.model_validate({"log_format": log_format}))
    structlog.configure(cache_logger_on_first_use=False)
    monkeypatch.setattr("sekisho.http.guards.log", structlog.get_logger("guards"))
    response = failing(RuntimeError("the reason")).post(
        "/v1/embeddings",
        json={"input": "a private text"},
        headers={"authorization": "Bearer sk-private", "x-request-id": "find-me-2"},
    )
    assert response.status_code == 500
    logging.getLogger("uvicorn.error").error("from a library", exc_info=ValueError("its reason"))
    log = written.getvalue()
    for part in ("the reason", "Traceback", "find-me-2", "its reason", "from a library"):
        assert part in log
    assert "sk-private" not in log
    assert "a private text" not in log
    if log_format == "json":
        assert all(json.loads(line) for line in log.splitlines())


def test_head_has_no_body(server: Server) -> None:
    response = server.client.head("/v1/models")
    assert (response.status_code, response.content) == (200, b"")


def test_keep_alive_survives_errors(server: Server) -> None:
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        for _ in range(3):
            assert client.get("/nothing").status_code == 404
            assert client.post("/v1/embeddings", content=b"{").status_code == 400
            assert client.get("/healthz").status_code == 200
