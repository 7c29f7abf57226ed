"""Which models there are: OpenAI's list, and the registry in full for people."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from sekisho.assemble import Parts
from sekisho.catalog.registry import Spec, describe
from sekisho.http.answers import json_response
from sekisho.http.wiring import documented, parts_of

router = APIRouter(tags=["models"])


@router.get("/v1/models", summary="The models, as OpenAI lists them", responses=documented(401, ok="The list"))
async def list_models(request: Request) -> Response:
    parts = parts_of(request)
    return json_response({"object": "list", "data": [_object(parts, spec) for spec in parts.catalog.registry]})


@router.get("/v1/models/{name:path}", summary="One model", responses=documented(401, 404, ok="The model"))
async def show_model(request: Request, name: str) -> Response:
    parts = parts_of(request)
    return json_response(_object(parts, parts.catalog.registry.find(name)) | {"id": name})


@router.get("/models", summary="The registry with every detail", responses=documented(401, ok="The registry"))
async def registry(request: Request) -> Response:
    parts = parts_of(request)
    models = [
        describe(spec) | _object(parts, spec) | {"names": parts.catalog.registry.names(spec)}
        for spec in parts.catalog.registry
    ]
    return json_response({"models": models, "default": {"embedding": parts.catalog.registry.default_name("embedding")}})


def _object(parts: Parts, spec: Spec) -> dict[str, Any]:
    engine = parts.pool.engine(spec)
    contract = engine.contract if engine is not None else None
    return {
        "id": spec.name,
        "object": "model",
        "created": 0,
        "owned_by": (spec.source.hub or "local").split("/")[0],
        "kind": spec.kind,
        "dimensions": contract.width if contract else spec.dimensions,
        "max_tokens": contract.max_tokens if contract else spec.max_tokens,
        "state": parts.pool.state(spec),
        "revision": spec.source.revision,
    }
