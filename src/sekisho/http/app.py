"""The application: routes, guards, error answers, and what happens at start and end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from sekisho.assemble import Parts
from sekisho.catalog.registry import Spec
from sekisho.errors import InvalidRequest, MethodNotAllowed, RouteNotFound, SekishoError
from sekisho.http.answers import error_response
from sekisho.http.guards import Guard, Keys
from sekisho.http.openapi import Operation, document, routes
from sekisho.http.paths import Paths
from sekisho.http.routes import (
    cohere,
    embed,
    models,
    openai,
    rerank,
    score,
    status,
    tei_info,
    tei_root,
    tei_scores,
    tei_tokens,
    tei_vectors,
)
from sekisho.observability import logger

log = logger(__name__)

DIALECTS = tuple(
    module.dialect
    for module in (
        openai,
        cohere,
        embed,
        rerank,
        score,
        tei_root,
        tei_vectors,
        tei_scores,
        tei_tokens,
        tei_info,
        models,
        status,
    )
)


class Application(Starlette):
    """Starlette, whose own layers only the paths pass that are not known whole (`Paths`).

    Its outermost, which answers what was raised, is left out: `Guard` does that.
    """

    keys: Keys
    operations: list[Operation]

    def build_middleware_stack(self) -> ASGIApp:
        """What a request passes, outermost first."""
        names = {operation.endpoint: operation.path for operation in self.operations}
        routed = ExceptionMiddleware(self.router, handlers=self.exception_handlers)
        return Guard(Paths(routed, self.operations), self.keys, names)


def create_app(parts: Parts) -> Application:
    """The ASGI application over these parts, which it closes when it ends."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        preloading = asyncio.create_task(_preload(parts))
        yield
        preloading.cancel()
        await parts.close()

    operations = [operation for dialect in DIALECTS for operation in dialect.operations]
    app = Application(routes=routes(DIALECTS), lifespan=lifespan, exception_handlers={HTTPException: _framework_error})
    app.keys = Keys(key.get_secret_value() for key in parts.settings.api_keys)
    app.operations = operations
    app.router.redirect_slashes = False
    app.state.parts = parts
    app.state.posts = {
        path: operation.endpoint for operation in operations if operation.method == "POST" for path in operation.paths
    }
    app.state.openapi = document(DIALECTS)
    return app


async def _preload(parts: Parts) -> None:
    """Load what the registry marks `preload`; `/readyz` waits for it, other requests do not."""
    await asyncio.gather(*(_load(parts, spec) for spec in parts.catalog.registry if spec.preload))


async def _load(parts: Parts, spec: Spec) -> None:
    while True:
        try:
            async with parts.pool.use(spec):
                return
        except SekishoError as error:
            await asyncio.sleep(error.retry_after_seconds or parts.settings.load_retry_seconds)


async def _framework_error(request: Request, error: Exception) -> Response:
    """The framework's own errors in our one body."""
    status_code = getattr(error, "status_code", 400)
    where = f"{request.method} {request.url.path}"
    headers: dict[str, str] = {}
    answer: SekishoError
    if status_code == 404:
        answer = RouteNotFound(f"There is no {where}: GET / lists the routes")
    elif status_code == 405:
        allowed = _methods(request)
        answer = MethodNotAllowed(f"{where} is not offered: this path takes {allowed}")
        headers["allow"] = allowed
    else:
        answer = InvalidRequest("The request is not one this route reads: see /docs")
    response = error_response(answer)
    response.headers.update(headers)
    return response


def _methods(request: Request) -> str:
    """Every method of a path, which may be spread over several routes."""
    routes = (route for route in request.app.routes if route.path_regex.match(request.url.path))
    return ", ".join(sorted({method for route in routes for method in route.methods}))
