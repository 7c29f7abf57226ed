"""The application: routes, guards, error answers, and what happens at start and end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

import sekisho
from sekisho.assemble import Parts
from sekisho.catalog.registry import Spec
from sekisho.errors import InvalidRequest, MethodNotAllowed, RouteNotFound, SekishoError
from sekisho.http.answers import error_response
from sekisho.http.guards import Guard, Keys
from sekisho.http.routes import embed, models, openai, status
from sekisho.observability import logger

log = logger(__name__)


def create_app(parts: Parts) -> FastAPI:
    """The ASGI application over these parts, which it closes when it ends."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        preloading = asyncio.create_task(_preload(parts))
        yield
        preloading.cancel()
        await parts.pool.close()

    app = FastAPI(
        title="Sekisho",
        version=sekisho.__version__,
        summary="Embeddings for every OpenAI-compatible client, from pinned models",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.parts = parts
    for dialect in (openai, embed, models, status):
        app.include_router(dialect.router)
    app.add_exception_handler(HTTPException, _framework_error)
    app.add_exception_handler(RequestValidationError, _framework_error)
    app.add_middleware(Guard, keys=Keys(key.get_secret_value() for key in parts.settings.api_keys))
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
    """The framework's own errors in our one body; validation is a 400, never a 422."""
    status_code = getattr(error, "status_code", 400)
    where = f"{request.method} {request.url.path}"
    answer: SekishoError
    if status_code == 404:
        answer = RouteNotFound(f"There is no {where}: GET / lists the routes")
    elif status_code == 405:
        answer = MethodNotAllowed(f"{where} is not offered: GET / lists the routes with their methods")
    else:
        answer = InvalidRequest("The request is not one this route reads: see /docs")
    return error_response(answer)
