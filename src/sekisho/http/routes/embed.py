"""`/embed`: the first service's shape (`texts`, `?q=`) and text-embeddings-inference's (`inputs`), by the body."""

from __future__ import annotations

import time
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from sekisho.errors import InvalidRequest
from sekisho.http.answers import json_response, success_headers
from sekisho.http.bodies import check, read_inputs
from sekisho.http.departure import unless_gone
from sekisho.http.guards import TEI_SHAPED
from sekisho.http.openapi import MODEL_ERRORS, Dialect
from sekisho.http.wiring import json_object, parts_of
from sekisho.service.embed import Embedded, EmbedRequest

dialect = Dialect("embed")


class EmbedBody(BaseModel):
    """Either `texts` or `inputs`."""

    model_config = ConfigDict(extra="ignore", title="EmbedRequest")

    texts: Annotated[list[str] | None, Field(description='Answered with {"vectors", "dimension", "count"}')] = None
    inputs: Annotated[str | list[str] | None, Field(description="Answered with a bare list of vectors")] = None
    model: str | None = None
    normalize: bool | None = None
    truncate: bool | None = None
    truncation_direction: Annotated[str | None, Field(pattern="^(?i:left|right)$")] = None
    prompt_name: str | None = None
    dimensions: int | None = None


@dialect.get(
    "/embed",
    "One text → its vector",
    '{"vector", "dimension", "text"}',
    errors=MODEL_ERRORS,
    query={"q": "The text", "model": "Left out: the default model"},
)
async def embed_one(request: Request) -> Response:
    q = request.query_params.get("q")
    if q is None:
        raise InvalidRequest("Add the text as `?q=…`", param="q")
    began = time.perf_counter()
    model = request.query_params.get("model")
    result = await _embed(request, EmbedRequest([q], model=model, single=True))
    content = {"vector": result.rows[0], "dimension": result.rows.shape[1], "text": q}
    return _answer(content, result, began)


@dialect.post(
    "/embed",
    "Texts → vectors, in the older shapes",
    "Vectors in input order",
    body=EmbedBody,
    example={"texts": ["動的計画法", "グラフ理論"]},
    errors=MODEL_ERRORS,
)
async def embed_many(request: Request) -> Response:
    began = time.perf_counter()
    values = await json_object(request)
    request.scope[TEI_SHAPED] = "inputs" in values
    body = check(EmbedBody, {key: value for key, value in values.items() if value is not None})
    if (body.texts is None) == (body.inputs is None):
        raise InvalidRequest("Send `texts` (a list) or `inputs` (a text or a list), one of them", param="texts")
    given, single = read_inputs(
        body.texts if body.texts is not None else body.inputs, "texts" if body.texts is not None else "inputs"
    )
    result = await _embed(request, _to_service(body, given, single))
    if body.inputs is not None:
        return _answer(list(result.rows), result, began)
    content = {"vectors": list(result.rows), "dimension": result.rows.shape[1], "count": len(result.rows)}
    return _answer(content, result, began)


def _to_service(body: EmbedBody, inputs: list[Any], single: bool) -> EmbedRequest:
    left = (body.truncation_direction or "").casefold() == "left"
    cut = None if body.truncate is None else ("start" if left else "end") if body.truncate else "none"
    return EmbedRequest(
        inputs,
        model=body.model,
        single=single,
        kind=body.prompt_name,
        dimensions=body.dimensions or None,
        truncation=cut,  # type: ignore[arg-type]  # mypy widens nested conditionals to str
        normalize=body.normalize,
    )


async def _embed(request: Request, asked: EmbedRequest) -> Embedded:
    return await unless_gone(request, parts_of(request).embed.embed(asked))


def _answer(content: Any, result: Embedded, began: float) -> Response:
    return json_response(content, success_headers(result.timings, time.perf_counter() - began, result.truncated))
