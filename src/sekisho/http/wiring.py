"""How a route reaches the parts, its own body, and the route that a body belongs to."""

from __future__ import annotations

from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response

from sekisho.assemble import Parts
from sekisho.http.bodies import header, parse_object, read_body
from sekisho.http.openapi import Endpoint
from sekisho.http.paths import PATH_MODEL

_PARSED = "sekisho.parsed_body"


def parts_of(request: Request) -> Parts:
    """What `assemble` built for this application."""
    return cast(Parts, request.scope["app"].state.parts)


async def json_object(request: Request) -> dict[str, Any]:
    """The request's body as a JSON object, within the server's limit; `model` is the path's where that names one."""
    parsed: dict[str, Any] | None = request.scope.get(_PARSED)
    if parsed is not None:
        return parsed
    body = await read_body(request, parts_of(request).settings.max_body_bytes)
    values = parse_object(body, header(request.scope, b"content-type"))
    model = request.scope.get(PATH_MODEL)
    return values if model is None else values | {"model": model}


async def answer_as(path: str, request: Request, values: dict[str, Any]) -> Response:
    """What `POST path` answers to a body that has been read: some paths take the bodies of several routes."""
    request.scope[_PARSED] = values
    posts: dict[str, Endpoint] = request.app.state.posts
    return await posts[path](request)


def model_of(request: Request) -> str | None:
    """The model that the path or the query names; None: the default one."""
    named: str | None = request.scope.get(PATH_MODEL)
    return named or request.query_params.get("model")
