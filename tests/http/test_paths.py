"""Which route a path means: pure, and over the wire."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Route

from sekisho.http.paths import Known, resolve
from tests.http import expect
from tests.http.conftest import InProcess
from tests.http.live import Server

KNOWN = Known.of(
    [
        "/", "/v1/embeddings", "/embeddings", "/v1/rerank", "/v2/rerank", "/rerank", "/v1/embed", "/v2/embed", "/embed",
        "/info", "/tokenize", "/infinity/rerank", "/v1/models", "/models", "/v1/models/{name:path}",
        "/models/{name:path}", "/docs", "/docs/{name}",
    ]
)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/v1/embeddings", "/v1/embeddings"),
        ("/v1/v1/v1/embeddings", "/v1/embeddings"),
        ("/v1/embeddings/embeddings", "/v1/embeddings"),
        ("/v1/embeddings/v1/embeddings", "/v1/embeddings"),
        ("/embeddings/embeddings", "/embeddings"),
        ("/v1/v1/embeddings/embeddings", "/v1/embeddings"),
        ("/v1/v1/rerank", "/v1/rerank"),
        ("/v1/v2/rerank", "/v2/rerank"),
        ("/v2/v1/rerank", "/v1/rerank"),
        ("/v1/rerank/rerank", "/v1/rerank"),
        ("/v1/rerank/v1/rerank", "/v1/rerank"),
        ("/infinity/rerank/rerank", "/infinity/rerank"),
        ("/v1/embed/embed", "/v1/embed"),
        ("/v1/v2/embed", "/v2/embed"),
        ("/v1/v1/models", "/v1/models"),
        ("/v1/v1/models/BAAI/bge-m3", "/v1/models/BAAI/bge-m3"),
        ("/openai/deployments/bge/embeddings/embeddings", "/embeddings"),
    ],
)
def test_paths_that_say_something_twice(path: str, route: str) -> None:
    assert resolve(path, KNOWN)[0] == route


@pytest.mark.parametrize(
    ("path", "route", "model"),
    [
        ("/m/bge-m3/embed", "/embed", "bge-m3"),
        ("/m/BAAI/bge-m3/embed", "/embed", "BAAI/bge-m3"),
        ("/m/ruri-v3-310m:query/embed", "/embed", "ruri-v3-310m:query"),
        ("/m/BAAI/bge-m3/v1/embeddings", "/v1/embeddings", "BAAI/bge-m3"),
        ("/m/bge/v1/v1/embeddings", "/v1/embeddings", "bge"),
        ("/m/bge/v1/v2/rerank", "/v2/rerank", "bge"),
        ("/m/bge/infinity/rerank", "/infinity/rerank", "bge"),
        ("/m/bge/info", "/info", "bge"),
        ("/m/bge", "/", "bge"),
        ("/m/bge/", "/", "bge"),
        ("/m/BAAI/bge-m3", "/", "BAAI/bge-m3"),
        ("/m/rerank/rerank", "/rerank", "rerank"),
        ("/openai/deployments/text-embedding-3-small/embeddings", "/embeddings", "text-embedding-3-small"),
        ("/openai/deployments/BAAI/bge-m3/embeddings", "/embeddings", "BAAI/bge-m3"),
    ],
)
def test_a_model_in_front_of_the_route(path: str, route: str, model: str) -> None:
    assert resolve(path, KNOWN) == (route, model)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing", "/v1", "/v1/", "/v2/embeddings", "/v1/embeddings/", "/v1/v1", "/m", "/m/", "/m//", "/openai",
        "/openai/deployments/x", "/openai/deployments/x/nothing", "/v2/v2/embeddings", "/v1/v2/embeddings",
        "/v1/models/", "/nothing/nothing", "/", "", "//", "/infinity/infinity/embed", "/v1/nothing/v1/nothing",
    ],
)  # fmt: skip
def test_what_leads_nowhere_stays_as_it_is(path: str) -> None:
    assert resolve(path, KNOWN)[1] is None
    assert resolve(path, KNOWN)[0] == path


@pytest.mark.parametrize(
    "path", ["/v1/models/models", "/v1/models/v1/v1", "/models/a/a", "/docs/docs", "/v1/models/m/x"]
)
def test_names_in_a_path_are_not_taken_for_parts_of_it(path: str) -> None:
    assert resolve(path, KNOWN) == (path, None)


@given(
    st.lists(
        st.sampled_from(["m", "v1", "v2", "embed", "embeddings", "rerank", "openai", "deployments", "x", ""]),
        max_size=8,
    )
)
def test_any_path_ends_at_a_route_or_stays(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    route, model = resolve(path, KNOWN)
    assert route == path or KNOWN.has(route)
    assert model is None or model in path
    assert resolve(route, KNOWN)[0] == route or route == path


def test_very_long_paths_are_not_searched() -> None:
    path = "/m/" + "v1/" * 20_000 + "embed"
    assert resolve(path, KNOWN) == (path, None)
    assert resolve("/v1" * 20_000 + "/embeddings", KNOWN) == ("/v1" * 20_000 + "/embeddings", None)


# --- over the wire ---


@pytest.mark.parametrize(
    "path",
    [
        "/v1/v1/embeddings", "/v1/embeddings/embeddings", "/m/plain/v1/embeddings", "/m/plain/embeddings",
        "/openai/deployments/plain/embeddings?api-version=2024-10-21",
    ],
)  # fmt: skip
def test_openais_shape_by_every_path(server: Server, path: str) -> None:
    there = expect.vectors(server.client.post(path, json={"input": ["a", "b"], "model": "plain"}))
    np.testing.assert_array_equal(there, expect.vectors(server.embed(input=["a", "b"], model="plain")))


def test_the_model_of_the_path_goes_before_the_one_of_the_body(server: Server) -> None:
    answer = server.client.post("/m/plain/v1/embeddings", json={"input": "a", "model": "tiny"})
    np.testing.assert_array_equal(expect.vectors(answer), expect.vectors(server.embed(input="a", model="plain")))
    assert answer.json()["model"] == "plain"


@pytest.mark.parametrize(
    "model", ["laboratory/tiny-bert", "laboratory%2Ftiny-bert", "tiny:query", "laboratory/tiny-bert:query"]
)
def test_clients_that_have_no_field_for_a_model(server: Server, model: str) -> None:
    kind = "query" if model.endswith(":query") else None
    rows = expect.vectors(server.embed(input=["a"], model="tiny", input_type=kind))
    for path in (f"/m/{model}/embed", f"/m/{model}", f"/m/{model}/"):
        answer = server.client.post(path, json={"inputs": ["a"]})
        np.testing.assert_array_equal(np.array(answer.json(), np.float32), rows)
    asked = server.client.get(f"/m/{model}/embed", params={"q": "a"}).json()
    np.testing.assert_allclose(np.array(asked["vector"], np.float32), rows[0], atol=1e-6)


def test_a_model_in_the_path_that_is_not_there(server: Server) -> None:
    expect.failed(server.client.post("/m/nobody/embed", json={"inputs": "a"}), 404, "", tei=True)
    expect.failed(server.client.post("/m/nobody/v1/embeddings", json={"input": "a"}), 404, "model_not_found", "model")
    expect.failed(server.client.get("/m/tiny/nothing"), 404, "route_not_found")
    expect.failed(server.client.get("/m/tiny/v1/embeddings"), 405, "method_not_allowed")


def test_paths_count_under_the_name_of_their_route(server: Server) -> None:
    before = server.metric("sekisho_requests_total", route="/v1/embeddings", status="200")
    for path in ("/m/plain/v1/embeddings", "/openai/deployments/tiny/embeddings", "/v1/v1/embeddings"):
        assert server.client.post(path, json={"input": "a"}).status_code == 200
    assert server.metric("sekisho_requests_total", route="/v1/embeddings", status="200") == before + 3
    assert 'route="/m/' not in server.client.get("/metrics").text


def test_a_prefix_opens_nothing_that_needs_a_key(keyed: Server, in_process: InProcess) -> None:
    known = Known.of(route.path for route in in_process.app.routes if isinstance(route, Route))
    assert len(known.fixed) > 10
    for path in known.fixed:
        assert keyed.client.post(f"/m/tiny{path}", json={}).status_code == 401
        assert keyed.client.get(f"/m/tiny{path}").status_code == 401
