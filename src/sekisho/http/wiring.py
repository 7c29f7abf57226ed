"""How a route reaches the parts, and how its body becomes OpenAPI."""

from __future__ import annotations

from typing import Any, cast

from pydantic import BaseModel
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


def request_body(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI for a route that parses its own body: reading it through the framework would cost more than the route."""
    schema = model.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error", "message", "detail"],
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        },
        "message": {"type": "string"},
        "detail": {"type": "string"},
    },
}


def documented(*statuses: int, ok: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses: a success described in words, and the errors this route gives, all of one body."""
    responses: dict[int | str, dict[str, Any]] = {
        200: {"description": ok, "content": {"application/json": {"schema": {}}}}
    }
    for status in statuses:
        responses[status] = {
            "description": _MEANING[status],
            "content": {"application/json": {"schema": ERROR_SCHEMA}},
        }
    return responses


_MEANING = {
    400: "The request cannot be served as it stands",
    401: "No API key, or an unknown one",
    404: "No such model",
    413: "Too large for one request",
    415: "The body is not JSON",
    429: "The queue is full; see Retry-After",
    500: "Our fault",
    503: "Not ready; see Retry-After",
    507: "No memory for the model",
}

#: The errors of every route that runs a model.
MODEL_ERRORS = (400, 401, 404, 413, 415, 429, 500, 503, 507)
