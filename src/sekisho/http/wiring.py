"""How a route reaches the parts and its own body."""

from __future__ import annotations

from typing import Any, cast

from starlette.requests import Request

from sekisho.assemble import Parts
from sekisho.http.bodies import parse_object, read_body


def parts_of(request: Request) -> Parts:
    """What `assemble` built for this application."""
    return cast(Parts, request.app.state.parts)


async def json_object(request: Request) -> dict[str, Any]:
    """The request's body as a JSON object, within the server's limit."""
    body = await read_body(request, parts_of(request).settings.max_body_bytes)
    return parse_object(body, request.headers.get("content-type", ""))
