"""Who may call: with keys configured, nothing but health is open."""

from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.routing import Route

from tests.http import expect
from tests.http.conftest import KEYS, InProcess, documented_examples
from tests.http.live import Server

OPEN = {"/healthz", "/health", "/livez", "/readyz", "/ping"}


def headers_of(key: str) -> list[dict[str, str]]:
    """Every way a client may send a key."""
    return [
        {"authorization": f"Bearer {key}"},
        {"authorization": f"bearer {key}"},
        {"authorization": f"BEARER   {key}"},
        {"authorization": key},
        {"api-key": key},
        {"x-api-key": key},
        {"X-API-Key": key},
    ]


WRONG: list[dict[str, str]] = [
    {},
    {"authorization": ""},
    {"authorization": "Bearer"},
    {"authorization": "Basic Zmlyc3Q6a2V5"},
    {"authorization": f"Bearer {KEYS[0]},{KEYS[1]}"},
    {"authorization": "Bearer wrong", "api-key": "wrong"},
    *headers_of("wrong"),
    *headers_of(KEYS[0][:-1]),
    *headers_of(KEYS[0] + "x"),
    *headers_of(KEYS[0].upper()),
]


def every_route(app: InProcess) -> list[tuple[str, str]]:
    found = []
    for route in app.app.routes:
        assert isinstance(route, Route)
        path = re.sub(r"{\w+(:path)?}", "tiny", route.path)
        found += [(method, path) for method in sorted((route.methods or set()) - {"HEAD"})]
    return found


def test_every_route_but_health_needs_a_key(keyed: Server, in_process: InProcess) -> None:
    closed = [(method, path) for method, path in every_route(in_process) if path not in OPEN]
    assert len(closed) >= 14
    for method, path in closed:
        for headers in WRONG if path in {"/v1/embeddings", "/embed", "/metrics"} else WRONG[:8]:
            response = keyed.client.request(method, path, headers=headers, json={"input": "a"})
            expect.failed(response, 401, "invalid_api_key", tei=method == "POST" and path in expect.TEI)


@pytest.mark.parametrize(
    ("path", "tei"),
    [
        ("/m/BAAI/bge-m3/embed", True), ("/m/BAAI/bge-m3", True), ("/m/tiny/v1/embeddings", False),
        ("/m/tiny/v1/embed", False), ("/v2/embed", False), ("/m/tiny/rerank", False),
    ],
)  # fmt: skip
def test_a_client_without_a_key_is_told_in_the_shape_it_reads(keyed: Server, path: str, tei: bool) -> None:
    expect.failed(keyed.client.post(path, json={"inputs": "a"}), 401, "invalid_api_key", tei=tei)


@pytest.mark.parametrize("path", ["/nothing", "/v1/embeddings/", "/%2Fhealthz", "/healthz/", "/docs/../healthz/x"])
def test_what_does_not_exist_is_not_told_to_strangers(keyed: Server, path: str) -> None:
    expect.failed(keyed.client.get(path), 401, "invalid_api_key")
    assert keyed.client.get(path, headers={"api-key": KEYS[0]}).status_code == 404


@pytest.mark.parametrize("path", sorted(OPEN))
def test_health_is_open(keyed: Server, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}):
        assert keyed.client.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize("key", KEYS)
def test_every_key_opens_every_route_in_every_form(keyed: Server, in_process: InProcess, key: str) -> None:
    bodies = documented_examples()
    for method, path in every_route(in_process):
        for headers in headers_of(key):
            body = bodies.get(path)
            response = keyed.client.request(method, path, headers=headers, json=body, params={"q": "a"})
            assert response.status_code == (404 if path == "/docs/tiny" else 200), (method, path, headers)


def test_a_message_does_not_repeat_the_key(keyed: Server) -> None:
    response = keyed.client.get("/v1/models", headers={"authorization": "Bearer sk-mistyped"})
    assert "sk-mistyped" not in response.text
    assert "sk-mistyped" not in keyed.log


def test_a_stranger_s_body_is_not_read(keyed: Server) -> None:
    expect.failed(keyed.client.post("/v1/embeddings", content=b"{"), 401, "invalid_api_key")


def test_keys_are_not_kept_in_the_clear(in_process_with: Any) -> None:
    app = in_process_with(api_keys="sk-only-for-this-test")
    assert app.get("/v1/models").status_code == 401
    assert app.get("/v1/models", headers={"api-key": "sk-only-for-this-test"}).status_code == 200
    assert "sk-only-for-this-test" not in repr(app.parts.settings)
