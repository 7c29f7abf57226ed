"""Routes that describe themselves: what Starlette needs to serve them, and the OpenAPI document people read.

Handlers take the bare request and parse it themselves: reading bodies through a framework's own validation cost more
than everything else the server does for a short text.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import sekisho

Endpoint = Callable[[Request], Awaitable[Response]]

#: The errors of every route that runs a model.
MODEL_ERRORS = (400, 401, 404, 413, 415, 429, 500, 502, 503, 504, 507)

_MEANING = {
    400: "The request cannot be served as it stands",
    401: "No API key, or an unknown one",
    404: "No such model or route",
    413: "Too large for one request",
    415: "The body is not JSON",
    429: "The queue is full; see Retry-After",
    500: "Our fault",
    502: "The service that runs the model failed, or does not let this server in",
    503: "Not ready; see Retry-After",
    504: "The service that runs the model gave no answer in time",
    507: "No memory for the model",
}

_ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error", "message", "detail"],
    "properties": {
        "error": {
            "description": "For requests in the shape of text-embeddings-inference: the message alone",
            "type": ["object", "string"],
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


@dataclass(frozen=True)
class Operation:
    """One method on one path.

    answer: in words what a success holds; response: its schema. required: which of `query` a request must have.
    Aliases serve without being listed.
    """

    method: Literal["GET", "POST"]
    path: str
    summary: str
    answer: str
    endpoint: Endpoint
    tag: str
    media_type: str = "application/json"
    errors: Sequence[int] = ()
    body: type[BaseModel] | None = None
    example: Mapping[str, Any] | None = None
    response: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    required: Sequence[str] = ()
    aliases: Sequence[str] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path, *self.aliases)

    def document(self, schemas: dict[str, Any]) -> dict[str, Any]:
        """The OpenAPI operation object; types that its schemas name are added to `schemas`."""
        name = getattr(self.endpoint, "__name__", self.path)
        answered = {} if self.response is None else _schema(self.response, "serialization", f"{name}.answer", schemas)
        ok = {"description": self.answer, "content": {self.media_type: {"schema": answered}}}
        operation: dict[str, Any] = {
            "operationId": name,
            "summary": self.summary,
            "tags": [self.tag],
            "responses": {"200": ok} | {str(status): _error(status) for status in self.errors},
        }
        if self.endpoint.__doc__:
            operation["description"] = self.endpoint.__doc__
        parameters = [_parameter(name, "path") for name in re.findall(r"{(\w+)", self.path)]
        parameters += [
            _parameter(name, "query", text, required=name in self.required) for name, text in self.query.items()
        ]
        if parameters:
            operation["parameters"] = parameters
        if self.body is not None:
            content = {"schema": _schema(self.body, "validation", f"{name}.request", schemas), "example": self.example}
            operation["requestBody"] = {"required": True, "content": {"application/json": content}}
        return operation


@dataclass
class Dialect:
    """The routes of one file."""

    tag: str
    operations: list[Operation] = field(default_factory=list)

    def get(self, path: str, summary: str, answer: str, **rest: Any) -> Callable[[Endpoint], Endpoint]:
        """Register a handler for GET; `rest` as in `Operation`."""
        return self._register("GET", path, summary, answer, **rest)

    def post(self, path: str, summary: str, answer: str, **rest: Any) -> Callable[[Endpoint], Endpoint]:
        """Register a handler for POST; `rest` as in `Operation`."""
        return self._register("POST", path, summary, answer, **rest)

    def _register(
        self, method: Literal["GET", "POST"], path: str, summary: str, answer: str, **rest: Any
    ) -> Callable[[Endpoint], Endpoint]:
        def keep(endpoint: Endpoint) -> Endpoint:
            self.operations.append(Operation(method, path, summary, answer, endpoint, self.tag, **rest))
            return endpoint

        return keep


def routes(dialects: Iterable[Dialect]) -> list[Route]:
    """What Starlette serves, aliases included."""
    return [
        Route(path, operation.endpoint, methods=[operation.method])
        for dialect in dialects
        for operation in dialect.operations
        for path in operation.paths
    ]


def document(dialects: Iterable[Dialect]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of all dialects."""
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {"Error": _ERROR_SCHEMA}
    for dialect in dialects:
        for operation in dialect.operations:
            path = re.sub(r"{(\w+):\w+}", r"{\1}", operation.path)
            paths.setdefault(path, {})[operation.method.lower()] = operation.document(schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sekisho",
            "version": sekisho.__version__,
            "summary": "Embeddings for every OpenAI-compatible client, from pinned models",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _schema(
    kind: Any, mode: Literal["validation", "serialization"], prefix: str, schemas: dict[str, Any]
) -> dict[str, Any]:
    """The JSON Schema of a type. What it refers to goes into `schemas`, where references lead, under `prefix`.

    Types of several routes may have one name.
    """
    schema = TypeAdapter(kind).json_schema(mode=mode, ref_template=f"#/components/schemas/{prefix}.{{model}}")
    schemas |= {f"{prefix}.{name}": value for name, value in schema.pop("$defs", {}).items()}
    return schema


def _error(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": _MEANING[status], "content": {"application/json": {"schema": schema}}}


def _parameter(name: str, where: Literal["path", "query"], text: str = "", *, required: bool = True) -> dict[str, Any]:
    parameter = {"name": name, "in": where, "required": required, "schema": {"type": "string"}}
    return parameter | ({"description": text} if text else {})
