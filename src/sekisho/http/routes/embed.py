"""`/embed`: the first service's shape (`texts`, `?q=`) and text-embeddings-inference's (`inputs`), by the body."""

from __future__ import annotations

import time
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from sekisho.errors import InvalidRequest
from sekisho.http.answers import success
from sekisho.http.bodies import Dimensions, check, read_inputs, without_nulls
from sekisho.http.departure import unless_gone
from sekisho.http.guards import TEI_SHAPED
from sekisho.http.openapi import MODEL_ERRORS, Dialect
from sekisho.http.tei import Prompted
from sekisho.http.wiring import json_object, model_of, parts_of
from sekisho.service.embed import Embedded, EmbedRequest

dialect = Dialect("embed")

_ONE_OF: dict[str, Any] = {"anyOf": [{"required": ["texts"]}, {"required": ["inputs"]}]}


class EmbedBody(Prompted):
    """Either `texts` or `inputs`."""

    model_config = ConfigDict(extra="ignore", title="EmbedRequest", json_schema_extra=_ONE_OF)

    texts: Annotated[list[str] | None, Field(description='Answered with {"vectors", "dimension", "count"}')] = None
    inputs: Annotated[str | list[str] | None, Field(description="Answered with a bare list of vectors")] = None
    normalize: bool | None = None
    dimensions: Dimensions = None

    def to_service(self) -> EmbedRequest:
        field = "texts" if self.texts is not None else "inputs"
        given, single = read_inputs(getattr(self, field), field)
        return EmbedRequest(
            given,
            model=self.model,
            single=single,
            kind=self.prompt_name,
            dimensions=self.dimensions,
            truncation=self.truncation,
            normalize=self.normalize,
            field=field,
        )


class OneVector(BaseModel):
    """An answer to `?q=`."""

    vector: list[float]
    dimension: int
    text: str


class Vectors(BaseModel):
    """An answer to `texts`."""

    vectors: list[list[float]]
    dimension: int
    count: int


@dialect.get(
    "/embed",
    "One text → its vector",
    '{"vector", "dimension", "text"}',
    errors=MODEL_ERRORS,
    query={"q": "The text", "model": "Left out: the default model"},
    required=("q",),
    response=OneVector,
)
async def embed_one(request: Request) -> Response:
    q = request.query_params.get("q")
    if q is None:
        raise InvalidRequest("Add the text as `?q=…`", param="q")
    began = time.perf_counter()
    result = await _embed(request, EmbedRequest([q], model=model_of(request), single=True))
    content = {"vector": result.rows[0], "dimension": result.rows.shape[1], "text": q}
    return success(content, result, began)


@dialect.post(
    "/embed",
    "Texts → vectors, in the older shapes",
    "Vectors in input order",
    body=EmbedBody,
    example={"texts": ["動的計画法", "グラフ理論"]},
    errors=MODEL_ERRORS,
    response=Vectors | list[list[float]],
)
async def embed_many(request: Request) -> Response:
    """The answer has the shape of the question: an object for `texts`, a bare list for `inputs`."""
    began = time.perf_counter()
    values = await json_object(request)
    request.scope[TEI_SHAPED] = "inputs" in values
    body = check(EmbedBody, without_nulls(values))
    if (body.texts is None) == (body.inputs is None):
        raise InvalidRequest("Send `texts` (a list) or `inputs` (a text or a list), one of them", param="texts")
    result = await _embed(request, body.to_service())
    if body.inputs is not None:
        return success(list(result.rows), result, began)
    content = {"vectors": list(result.rows), "dimension": result.rows.shape[1], "count": len(result.rows)}
    return success(content, result, began)


async def _embed(request: Request, asked: EmbedRequest) -> Embedded:
    return await unless_gone(request, parts_of(request).embed.embed(asked))
