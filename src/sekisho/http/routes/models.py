"""Which models there are: OpenAI's list, and the registry in full for people."""

from __future__ import annotations

from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import Response

from sekisho.assemble import Parts
from sekisho.catalog.registry import Spec, describe
from sekisho.contract import Kind
from sekisho.http.answers import json_response
from sekisho.http.openapi import Dialect
from sekisho.http.wiring import parts_of
from sekisho.service.model_names import find_model

dialect = Dialect("models")


@dialect.get("/v1/models", "The models, as OpenAI lists them", "The list", errors=(401,))
async def list_models(request: Request) -> Response:
    parts = parts_of(request)
    return json_response({"object": "list", "data": [_object(parts, spec) for spec in parts.catalog.registry]})


@dialect.get("/v1/models/{name:path}", "One model", "The model", errors=(401, 404), aliases=("/models/{name:path}",))
async def show_model(request: Request) -> Response:
    name = request.path_params["name"]
    parts = parts_of(request)
    spec, _ = find_model(parts.catalog.registry, name)
    return json_response(_object(parts, spec) | {"id": name})


@dialect.get("/models", "The registry with every detail", "The registry", errors=(401,))
async def registry(request: Request) -> Response:
    parts = parts_of(request)
    catalog = parts.catalog
    models = [_detail(parts, spec) for spec in catalog.registry]
    defaults = {kind: catalog.registry.default_name(kind) for kind in get_args(Kind)}
    default = {kind: name for kind, name in defaults.items() if name is not None}
    # `object` and `data` are for clients whose base URL lacks the /v1.
    return json_response({"object": "list", "data": models, "default": default})


def _detail(parts: Parts, spec: Spec) -> dict[str, Any]:
    """Its block of models.yaml, what is known of it here, and its files."""
    locked = parts.catalog.lock.models.get(spec.name)
    here = {
        "names": parts.catalog.registry.names(spec),
        "pinned": parts.catalog.pinned(spec),
        "files": {name: pin.model_dump() for name, pin in locked.files.items()} if locked is not None else {},
    }
    nowhere = {"source": None} if spec.upstream is not None else {}
    return describe(spec) | _object(parts, spec) | here | nowhere


def _object(parts: Parts, spec: Spec) -> dict[str, Any]:
    engine = parts.pool.engine(spec)
    contract = engine.contract if engine is not None else None
    longest = (contract.max_tokens if contract else None) or spec.max_tokens
    most = parts.settings.max_length
    return {
        "id": spec.name,
        "object": "model",
        "created": 0,
        "owned_by": spec.origin,
        "kind": spec.kind,
        "dimensions": (contract.width if contract else None) or spec.dimensions,
        "max_tokens": min(longest, most) if longest and most else longest,
        "numbers": contract.numbers if contract and spec.upstream is None else None,
        "graph": contract.graph if contract else None,
        "state": parts.pool.state(spec),
        "revision": spec.source.revision,
    }
