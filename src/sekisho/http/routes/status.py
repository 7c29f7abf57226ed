"""Alive, ready, metrics, what this server is, and its documentation."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

import sekisho
from sekisho.errors import NotReady, RouteNotFound
from sekisho.http.answers import json_response
from sekisho.http.wiring import documented, parts_of

router = APIRouter(tags=["status"])

_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_DOCS_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sekisho API</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="ui"></div><script src="docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "openapi.json", dom_id: "#ui", deepLinking: true, validatorUrl: null})</script>
</body></html>
"""


@router.get("/healthz", summary="The process is alive", responses=documented(ok='{"ok": true}'))
@router.get("/health", include_in_schema=False)
@router.get("/livez", summary="The process is alive", responses=documented(ok='{"ok": true}'))
@router.get("/ping", include_in_schema=False)
async def alive() -> Response:
    return json_response({"ok": True})


@router.get("/readyz", summary="The server takes requests", responses=documented(503, ok='{"ok": true}'))
async def ready(request: Request) -> Response:
    """503 while draining, while a model marked `preload` is not up, or when a worker has died and not come back."""
    parts = parts_of(request)
    if parts.pool.draining:
        raise NotReady("The server is shutting down")
    missing = [spec.name for spec in parts.catalog.registry if spec.preload and parts.pool.engine(spec) is None]
    if missing:
        raise NotReady(f"Not loaded yet: {', '.join(missing)}")
    if not parts.pool.healthy:
        raise NotReady("A worker has ended and has not come back")
    return json_response({"ok": True})


@router.get("/metrics", summary="Prometheus metrics", include_in_schema=False)
async def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@router.get("/", summary="What this server is", responses=documented(401, ok="Name, version, models, routes"))
async def index(request: Request) -> Response:
    paths = request.app.openapi()["paths"]
    routes = [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]
    names = [spec.name for spec in parts_of(request).catalog.registry]
    return json_response({"name": "sekisho", "version": sekisho.__version__, "models": names, "routes": routes})


@router.get("/docs", include_in_schema=False)
async def docs() -> Response:
    return HTMLResponse(_DOCS_PAGE)


@router.get("/docs/{name}", include_in_schema=False)
async def docs_asset(name: str) -> Response:
    """Swagger UI from this package: a machine without the internet reads the documentation too."""
    if name not in _ASSETS:
        raise RouteNotFound(f"There is no {name!r} here")
    content = files("sekisho").joinpath(f"http/static/{name}.gz").read_bytes()
    headers = {"content-encoding": "gzip", "cache-control": "public, max-age=86400"}
    return Response(content, headers=headers, media_type=_ASSETS[name])
