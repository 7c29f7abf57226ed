"""Alive, ready, metrics, what this server is, and its documentation."""

from __future__ import annotations

import asyncio
from importlib.resources import files

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

import sekisho
from sekisho.errors import NotReady, RouteNotFound
from sekisho.http.answers import json_response
from sekisho.http.openapi import Dialect
from sekisho.http.wiring import parts_of
from sekisho.observability import exposition

dialect = Dialect("status")

_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_DOCS_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sekisho API</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="ui"></div><script src="docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "openapi.json", dom_id: "#ui", deepLinking: true, validatorUrl: null})</script>
</body></html>
"""


@dialect.get("/healthz", "The process is alive", '{"ok": true}', aliases=("/health", "/livez", "/ping"))
async def alive(_request: Request) -> Response:
    return json_response({"ok": True})


@dialect.get("/readyz", "The server takes requests", '{"ok": true}', errors=(503,))
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


@dialect.get("/metrics", "Prometheus metrics", "Metrics", media_type="text/plain", errors=(401,))
async def metrics(_request: Request) -> Response:
    text = await asyncio.to_thread(exposition)  # tens of milliseconds with many models
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@dialect.get("/", "What this server is", "Name, version, models, routes", errors=(401,))
async def index(request: Request) -> Response:
    paths = request.app.state.openapi["paths"]
    listed = [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]
    names = [spec.name for spec in parts_of(request).catalog.registry]
    return json_response({"name": "sekisho", "version": sekisho.__version__, "models": names, "routes": listed})


@dialect.get("/openapi.json", "This document", "OpenAPI 3.1", errors=(401,))
async def openapi(request: Request) -> Response:
    return json_response(request.app.state.openapi)


@dialect.get("/docs", "The documentation to try things in", "A page", media_type="text/html", errors=(401,))
async def docs(_request: Request) -> Response:
    return HTMLResponse(_DOCS_PAGE)


@dialect.get("/docs/{name}", "An asset of the documentation", "A file", media_type="*/*", errors=(401, 404))
async def docs_asset(request: Request) -> Response:
    """Swagger UI from this package: a machine without the internet reads the documentation too."""
    name = request.path_params["name"]
    if name not in _ASSETS:
        raise RouteNotFound(f"There is no {name!r} here")
    content = files("sekisho").joinpath(f"http/static/{name}.gz").read_bytes()
    headers = {"content-encoding": "gzip", "cache-control": "public, max-age=86400"}
    return Response(content, headers=headers, media_type=_ASSETS[name])
