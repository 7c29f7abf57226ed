"""Which models there are: OpenAI's list, and the registry in full for people."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sekisho.assemble import Parts
from sekisho.catalog.registry import Spec, describe
from sekisho.http.answers import json_response
from sekisho.http.openapi import Dialect
from sekisho.http.wiring import parts_of

dialect = Dialect("models")


@dialect.get("/v1/models", "The models, as OpenAI lists them", "The list", errors=(401,))
async def list_models(request: Request) -> Response:
    parts = parts_of(request)
    return json_response({"object": "list", "data": [_object(parts, spec) for spec in parts.catalog.registry]})


@dialect.get("/v1/models/{name:path}", "One model", "The model", errors=(401, 404), aliases=("/models/{name:path}",))
async def show_model(request: Request) -> Response:
    name = request.path_params["name"]
    parts = parts_of(request)
    return json_response(_object(parts, parts.catalog.registry.find(name)) | {"id": name})


@dialect.get("/models", "The registry with every detail", "The registry", errors=(401,))
async def registry(request: Request) -> Response:
    parts = parts_of(request)
    models = [
        describe(spec) | _object(parts, spec) | {"names": parts.catalog.registry.names(spec)}
        for spec in parts.catalog.registry
    ]
    default = {"embedding": parts.catalog.registry.default_name("embedding")}
    # `object` and `data` are for clients whose base URL lacks the /v1.
    return json_response({"object": "list", "data": models, "default": default})


def _object(parts: Parts, spec: Spec) -> dict[str, Any]:
    engine = parts.pool.engine(spec)
    contract = engine.contract if engine is not None else None
    return {
        "id": spec.name,
        "object": "model",
        "created": 0,
        "owned_by": spec.origin,
        "kind": spec.kind,
        "dimensions": contract.width if contract else spec.dimensions,
        "max_tokens": contract.max_tokens if contract else spec.max_tokens,
        "state": parts.pool.state(spec),
        "revision": spec.source.revision,
    }
