"""Models, the older shapes, health, and what the server says of itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.routing import Route

import sekisho
from sekisho.catalog.registry import load_registry
from tests.conftest import REPOSITORY
from tests.http import expect
from tests.http.conftest import InProcess
from tests.http.live import Server

# --- models ---

OBJECT = {
    "id", "object", "created", "owned_by", "kind", "dimensions", "max_tokens", "numbers", "graph", "state", "revision",
}  # fmt: skip


def test_the_list_of_models_is_openais(server: Server) -> None:
    body = server.client.get("/v1/models").json()
    assert body["object"] == "list"
    assert [model["id"] for model in body["data"]][:2] == ["tiny", "instructed"]
    for model in body["data"]:
        assert set(model) >= OBJECT
        assert model["object"] == "model"
        assert model["state"] in {"unloaded", "loading", "loaded", "failed"}


def test_a_loaded_model_says_what_it_is(server: Server) -> None:
    server.embed(input="a")
    model = server.client.get("/v1/models/tiny").json()
    assert model["state"] == "loaded"
    assert (model["kind"], model["dimensions"], model["max_tokens"]) == ("embedding", 40, 512)


def test_a_model_that_has_not_been_used_is_not_loaded(server: Server) -> None:
    model = server.client.get("/v1/models/unpinned").json()
    assert model["state"] in {"unloaded", "failed"}
    assert model["owned_by"] == "nobody"


@pytest.mark.parametrize(
    ("path", "id_"),
    [
        ("all-minilm-l6-v2", "all-minilm-l6-v2"),
        ("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("sentence-transformers%2Fall-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
    ],
)
def test_a_model_by_any_name_in_the_path(server: Server, path: str, id_: str) -> None:
    model = server.client.get(f"/v1/models/{path}").json()
    assert model["id"] == id_
    assert model["dimensions"] == 384
    assert model["revision"] == "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"


def test_an_unknown_model_in_the_path(server: Server) -> None:
    assert "'tiny'" in expect.failed(server.client.get("/v1/models/tinny"), 404, "model_not_found", "model")
    expect.failed(server.client.get("/v1/models/a%2Fb%00c"), 404, "model_not_found", "model")


def test_the_registry_in_full(server: Server) -> None:
    body = server.client.get("/models").json()
    assert body["default"] == {"embedding": "tiny", "reranker": "ranker"}
    tiny = body["data"][0]
    assert tiny["names"][0] == "tiny"
    assert set(tiny["names"]) == {"tiny", "tiny-bert", "laboratory/tiny-bert", "text-embedding-3-small"}
    assert tiny["prompts"] == {"query": "検索クエリ: ", "document": "検索文書: "}
    assert set(tiny) >= OBJECT | {"source", "keep_alive", "truncate", "license", "pooling", "pinned", "files"}
    by_name = {model["name"]: model for model in body["data"]}
    assert {model["kind"] for model in body["data"]} == {"embedding", "reranker"}
    assert set(by_name) == {model["id"] for model in server.client.get("/v1/models").json()["data"]}
    assert by_name["ranker"]["max_tokens"] == 128
    assert all(set(model) == set(tiny) for model in body["data"]), "every model shows every key"


def test_the_catalogue_in_full(in_process_with: Callable[..., InProcess]) -> None:
    """Models with pins and without, and one of another service."""
    path = REPOSITORY / "models.yaml"
    body = in_process_with(models=path).get("/models").json()
    models = {model["name"]: model for model in body["data"]}
    assert list(models) == [spec.name for spec in load_registry(path)]
    default = models[body["default"]["embedding"]]
    assert default["pinned"] is True
    assert default["files"]["model.safetensors"]["sha256"]
    assert {model["pinned"] for model in models.values()} == {True, False, None}
    assert models["ruri-v3-310m"]["prompts"]["query"] == "検索クエリ: "
    assert (models["bge-reranker-v2-m3"]["kind"], models["bge-reranker-v2-m3"]["pinned"]) == ("reranker", False)
    elsewhere = models["cohere-rerank-multilingual"]
    assert (elsewhere["pinned"], elsewhere["source"], elsewhere["upstream"]["api"]) == (None, None, "cohere")


# --- the older shapes ---

TEXTS = ["動的計画法", "グラフ理論"]


def test_legacy_get(server: Server) -> None:
    response = server.client.get("/embed", params={"q": "猫 & 犬"})
    body = response.json()
    assert set(body) == {"vector", "dimension", "text"}
    assert (body["dimension"], body["text"]) == (40, "猫 & 犬")
    np.testing.assert_array_equal(
        np.array(body["vector"], np.float32), expect.vectors(server.embed(input="猫 & 犬"))[0]
    )
    assert float(response.headers["x-total-ms"]) >= 0
    named = server.client.get("/embed", params={"q": "a", "model": "plain"}).json()
    assert named["dimension"] == 36
    assert server.client.get("/embed", params={"q": ""}).json()["dimension"] == 40


def test_legacy_get_gone_wrong(server: Server) -> None:
    expect.failed(server.client.get("/embed"), 400, "invalid_request", "q")
    expect.failed(server.client.get("/embed", params={"q": "a", "model": "zzz"}), 404, "model_not_found", "model")


def test_legacy_post(server: Server) -> None:
    body = server.client.post("/embed", json={"texts": TEXTS}).json()
    assert set(body) == {"vectors", "dimension", "count"}
    assert (body["dimension"], body["count"]) == (40, 2)
    np.testing.assert_array_equal(np.array(body["vectors"], np.float32), expect.vectors(server.embed(input=TEXTS)))
    assert server.client.post("/embed", json={"texts": TEXTS, "model": "plain"}).json()["dimension"] == 36


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "texts"),
        ({"texts": []}, "texts"),
        ({"texts": "a"}, "texts"),
        ({"texts": [5]}, "texts"),
        ({"texts": None}, "texts"),
        ({"texts": ["a"], "model": 5}, "model"),
        ({"texts": ["a"], "dimensions": 999}, "dimensions"),
    ],
)
def test_legacy_post_gone_wrong(server: Server, body: dict[str, Any], param: str) -> None:
    expect.failed(server.client.post("/embed", json=body), 400, "invalid_request", param)


def tei(server: Server, **body: Any) -> np.ndarray:
    response = server.client.post("/embed", json=body)
    assert response.status_code == 200, response.text
    return np.array(response.json(), np.float32)


def test_tei(server: Server) -> None:
    rows = expect.vectors(server.embed(input=TEXTS))
    np.testing.assert_array_equal(tei(server, inputs=TEXTS), rows)
    assert cosine(tei(server, inputs=TEXTS[0]), rows[:1]) > 0.999999
    plain = tei(server, inputs=TEXTS, normalize=False)
    np.testing.assert_array_equal(plain, expect.vectors(server.embed(input=TEXTS, normalize=False)))
    assert tei(server, inputs=TEXTS, dimensions=8).shape == (2, 8)
    assert tei(server, inputs=TEXTS, dimensions=None, truncate=None, prompt_name=None).shape == (2, 40)
    queries = expect.vectors(server.embed(input=TEXTS, input_type="query"))
    np.testing.assert_array_equal(tei(server, inputs=TEXTS, prompt_name="query"), queries)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


def test_tei_truncation(server: Server) -> None:
    long = "the cat " * 400 + "train station planet"
    response = server.client.post("/embed", json={"inputs": long, "truncate": True})
    assert response.headers["x-sekisho-truncated"] == "1"
    left = tei(server, inputs=long, truncate=True, truncation_direction="Left")
    start = expect.vectors(server.embed(input=long, truncate="START"))
    np.testing.assert_array_equal(left, start)
    refused = server.client.post("/embed", json={"inputs": long, "truncate": False})
    assert "805 tokens" in expect.failed(refused, 400, "input_too_long", tei=True)


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": []},
        {"inputs": [5]},
        {"inputs": {}},
        {"inputs": ["a"], "texts": ["a"]},
        {"inputs": "a", "truncation_direction": "up"},
        {"inputs": "a", "prompt_name": "nonsense"},
    ],
)
def test_tei_gone_wrong(server: Server, body: dict[str, Any]) -> None:
    expect.failed(server.client.post("/embed", json=body), 400, "", tei=True)


# --- status ---


@pytest.mark.parametrize("path", ["/healthz", "/health", "/livez", "/readyz", "/ping"])
def test_health(server: Server, path: str) -> None:
    response = server.client.get(path)
    assert (response.status_code, response.json()) == (200, {"ok": True})
    assert server.client.head(path).status_code == 200


def test_ready_is_a_503_while_draining_and_while_preloading(in_process_with: Any, tiny_registry: Path) -> None:
    draining = in_process_with()
    draining.parts.pool.drain()
    expect.failed(draining.get("/readyz"), 503, "not_ready")
    assert draining.get("/healthz").status_code == 200
    expect.failed(draining.post("/v1/embeddings", json={"input": "a"}), 503, "not_ready")

    path = tiny_registry.with_name("preload.yaml")
    path.write_text(
        "version: 1\ndefaults: {embedding: p}\nmodels: [{name: p, source: {path: tiny-bert-max}, preload: true}]",
        "utf-8",
    )
    preloading = in_process_with(models=path)
    assert "p" in expect.failed(preloading.get("/readyz"), 503, "not_ready")
    assert preloading.post("/v1/embeddings", json={"input": "a"}).status_code == 200
    assert preloading.get("/readyz").status_code == 200


def test_metrics(server: Server) -> None:
    before = server.metric("sekisho_requests_total", route="/v1/embeddings", status="200")
    server.embed(input="a")
    server.client.post("/embeddings", json={"input": "a"})
    assert server.metric("sekisho_requests_total", route="/v1/embeddings", status="200") == before + 2
    assert server.metric("sekisho_tokens_total", model="tiny") > 0
    assert server.metric("sekisho_padded_tokens_total") >= server.metric("sekisho_tokens_total")
    assert server.metric("sekisho_stage_seconds_count", model="tiny", stage="inference") > 0


def test_paths_that_do_not_exist_are_one_metric(server: Server) -> None:
    before = server.metric("sekisho_requests_total", route="unmatched", status="404")
    for number in range(5):
        server.client.get(f"/nothing/{number}")
    assert server.metric("sekisho_requests_total", route="unmatched", status="404") == before + 5
    assert "/nothing" not in server.client.get("/metrics").text


def test_the_index(server: Server) -> None:
    body = server.client.get("/", headers={"accept": "application/json"}).json()
    assert (body["name"], body["version"]) == ("sekisho", sekisho.__version__)
    assert "tiny" in body["models"]
    assert "POST /v1/embeddings" in body["routes"]
    assert "GET /v1/models/{name}" in body["routes"]


# --- documentation ---


def test_the_documentation_loads_nothing_from_elsewhere(server: Server) -> None:
    page = server.client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    loaded = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']*)["']""", page.text)
    assert len(loaded) >= 4
    assert not [address for address in loaded if re.match(r"(\w+:)?//", address)]
    for address in loaded:
        if not address.startswith("data:"):
            assert server.client.get(f"/{address}").status_code == 200, address


def test_the_assets_are_ours_and_load_nothing_either(server: Server) -> None:
    script = server.client.get("/docs/swagger-ui-bundle.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "SwaggerUIBundle" in script.text
    style = server.client.get("/docs/swagger-ui.css")
    assert style.headers["content-type"].startswith("text/css")
    assert not re.search(r"""(@import|url\()\s*["']?(https?:)?//""", style.text)


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fapp.py", "VERSION", "swagger-ui.css.gz"])
def test_no_other_file_is_served(server: Server, name: str) -> None:
    expect.failed(server.client.get(f"/docs/{name}"), 404, "route_not_found")


def test_the_openapi_document_is_a_valid_one(server: Server) -> None:
    document = server.client.get("/openapi.json").json()
    assert re.fullmatch(r"3\.1\.\d", document["openapi"])
    assert document["info"]["title"]
    assert document["info"]["version"] == sekisho.__version__
    assert set(document) <= {
        "openapi", "info", "jsonSchemaDialect", "servers", "paths", "webhooks", "components", "security", "tags",
        "externalDocs",
    }  # fmt: skip
    seen: list[str] = []
    for path, item in document["paths"].items():
        assert path.startswith("/")
        for method, operation in item.items():
            assert method in {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
            seen.append(operation["operationId"])
            _check_operation(path, operation)
    assert len(seen) == len(set(seen))
    for scheme in document.get("components", {}).get("securitySchemes", {}).values():
        assert scheme["type"] in {"apiKey", "http", "mutualTLS", "oauth2", "openIdConnect"}
    schemes = document.get("components", {}).get("securitySchemes", {})
    assert all(set(requirement) <= set(schemes) for requirement in document.get("security", []))
    for reference in _values_of(document, "$ref"):
        assert _resolves(document, reference), reference
    for schema in _values_of(document, "schema"):
        _check_schema(schema)


def _check_operation(path: str, operation: dict[str, Any]) -> None:
    assert operation["responses"]
    for status, response in operation["responses"].items():
        assert re.fullmatch(r"[1-5](\d\d|XX)|default", status)
        assert response["description"]
        assert all(set(media) <= {"schema", "example", "examples"} for media in response["content"].values())
    parameters = operation.get("parameters", [])
    for parameter in parameters:
        assert parameter["in"] in {"query", "header", "path", "cookie"}
        assert parameter["schema"]
        assert parameter["in"] != "path" or parameter["required"] is True
    in_path = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", path))
    if "requestBody" in operation:
        assert operation["requestBody"]["content"]["application/json"]["schema"]
        assert operation["requestBody"]["content"]["application/json"]["example"]


def _check_schema(schema: Any) -> None:
    """JSON Schema 2020-12, as far as its own vocabulary of types and containers goes."""
    assert isinstance(schema, dict | bool)
    if isinstance(schema, bool):
        return
    types = schema.get("type", [])
    names = {types} if isinstance(types, str) else set(types)
    assert names <= {"null", "boolean", "object", "array", "number", "string", "integer"}
    assert isinstance(schema.get("required", []), list)
    for child in (*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()):
        _check_schema(child)
    for key in ("anyOf", "allOf", "oneOf", "prefixItems"):
        assert key not in schema or schema[key]
        for child in schema.get(key, []):
            _check_schema(child)
    for key in ("items", "additionalProperties", "not"):
        if key in schema:
            _check_schema(schema[key])


def _values_of(value: Any, key: str) -> list[Any]:
    found: list[Any] = []
    if isinstance(value, dict):
        found += [value[key]] if key in value else []
        for child in value.values():
            found += _values_of(child, key)
    elif isinstance(value, list):
        for child in value:
            found += _values_of(child, key)
    return found


def _resolves(document: Any, reference: str) -> bool:
    assert reference.startswith("#/")
    for part in reference[2:].split("/"):
        if not isinstance(document, dict) or part not in document:
            return False
        document = document[part]
    return True


def test_every_route_is_documented(in_process: InProcess) -> None:
    """On its own, or as another path of a documented one."""
    documented = {
        (operation["operationId"], method.upper())
        for item in in_process.get("/openapi.json").json()["paths"].values()
        for method, operation in item.items()
    }
    routes = [route for route in in_process.app.routes if isinstance(route, Route)]
    assert len(routes) == len(in_process.app.routes)
    served = {(route.endpoint.__name__, method) for route in routes for method in (route.methods or set()) - {"HEAD"}}
    assert served == documented


def test_every_documented_path_answers(in_process: InProcess) -> None:
    for path, item in in_process.get("/openapi.json").json()["paths"].items():
        for method in item:
            response = in_process.request(method, path.replace("{name}", "tiny"), json={})
            assert response.status_code in ({200, 400} if path != "/docs/{name}" else {404}), path


def test_the_documented_example_is_served(in_process: InProcess) -> None:
    for path, item in in_process.get("/openapi.json").json()["paths"].items():
        if "requestBody" in item.get("post", {}):
            example = item["post"]["requestBody"]["content"]["application/json"]["example"]
            assert in_process.post(path, json=example).status_code == 200


def test_every_field_the_route_reads_is_documented(in_process: InProcess) -> None:
    operation = in_process.get("/openapi.json").json()["paths"]["/v1/embeddings"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) >= {
        "input", "model", "encoding_format", "dimensions", "input_type", "apply_ruri_prefix", "instruction", "truncate",
        "normalize", "output_dtype", "user",
    }  # fmt: skip
    assert schema["required"] == ["input"]
