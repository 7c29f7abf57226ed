"""Cohere's embed API: version 1 (`texts`) and version 2 (`texts`, or `inputs` with a `content`)."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from sekisho.errors import InvalidRequest
from sekisho.http.answers import embedding_value, success
from sekisho.http.bodies import Dimensions, Truncate, check, without_nulls
from sekisho.http.departure import unless_gone
from sekisho.http.openapi import MODEL_ERRORS, Dialect
from sekisho.http.wiring import answer_as, json_object, parts_of
from sekisho.service.embed import Embedded, EmbedRequest
from sekisho.service.quantize import OutputType, quantize

dialect = Dialect("cohere")

EmbeddingType = Literal[OutputType, "base64"]

_NO_IMAGES = "Images are not embedded here: send texts"


class EmbedBody(BaseModel):
    """Fields of both versions. Every optional key may be null; keys that are not listed are ignored."""

    model_config = ConfigDict(extra="ignore")

    model: Annotated[str | None, Field(description="Left out: the default model")] = None
    input_type: Annotated[
        str | None, Field(description="search_query, search_document, classification, clustering")
    ] = None
    truncate: Annotated[Truncate, Field(description="NONE refuses a text that is too long, START and END cut it")] = (
        None
    )
    embedding_types: Annotated[list[EmbeddingType] | None, Field(description="base64 is little-endian float32")] = None
    images: Annotated[Any, Field(description="Refused: texts only", json_schema_extra={"type": "null"})] = None


class EmbedBodyV1(EmbedBody):
    """Version 1."""

    model_config = ConfigDict(title="CohereEmbedRequestV1")

    texts: Annotated[list[str], Field(min_length=1)]


class Part(BaseModel):
    """A piece of an input; only texts are read."""

    type: Literal["text"]
    text: str


class Content(BaseModel):
    """One input. Its texts are put together, a line each."""

    content: Annotated[list[Part], Field(min_length=1)]


class EmbedBodyV2(EmbedBody):
    """Version 2. Either `texts` or `inputs`."""

    model_config = ConfigDict(
        title="CohereEmbedRequestV2",
        json_schema_extra={"oneOf": [{"required": ["texts"]}, {"required": ["inputs"]}]},
    )

    texts: Annotated[list[str] | None, Field(min_length=1)] = None
    inputs: Annotated[list[Content] | None, Field(min_length=1)] = None
    output_dimension: Annotated[Dimensions, Field(description="Cut the vectors and normalise them again")] = None
    max_tokens: Annotated[int | None, Field(ge=1, description="Read at most this many tokens of each text")] = None

    def all_texts(self) -> list[str]:
        if self.texts is not None:
            return self.texts
        return ["\n".join(part.text for part in each.content) for each in self.inputs or ()]


class Billed(BaseModel):
    """The tokens that the model saw."""

    input_tokens: int


class ApiVersion(BaseModel):
    """Which version answered."""

    version: Literal["1", "2"]


class Meta(BaseModel):
    """What Cohere bills by."""

    api_version: ApiVersion
    billed_units: Billed


class Floats(BaseModel):
    """Version 1 without `embedding_types`."""

    id: str
    response_type: Literal["embeddings_floats"]
    embeddings: list[list[float]]
    texts: list[str]
    meta: Meta


class ByType(BaseModel):
    """With `embedding_types`: a list of vectors for each type."""

    id: str
    response_type: Literal["embeddings_by_type"]
    embeddings: dict[EmbeddingType, list[list[float]] | list[str]]
    texts: list[str]
    meta: Meta


@dialect.post(
    "/v1/embed",
    "Texts → vectors, as Cohere's first version",
    "Vectors in input order",
    body=EmbedBodyV1,
    example={"texts": ["hello", "goodbye"], "input_type": "search_document"},
    errors=MODEL_ERRORS,
    response=Floats | ByType | list[list[float]],
)
async def cohere_embed_v1(request: Request) -> Response:
    """With `embedding_types` the vectors stand under their types, without it they are a plain list.

    `inputs` in place of `texts` is text-embeddings-inference's, from a base URL that ends in /v1.
    """
    began = time.perf_counter()
    values = await json_object(request)
    if "inputs" in values and "texts" not in values:
        return await answer_as("/embed", request, values)
    given = _given(values)
    body = check(EmbedBodyV1, given)
    result = await _embed(request, body, body.texts)
    if body.embedding_types:
        return _by_type(body.texts, body.embedding_types, result, "1", began)
    content = _content("1", body.texts, "embeddings_floats", list(result.rows), result)
    return success(content, result, began)


@dialect.post(
    "/v2/embed",
    "Texts → vectors, as Cohere's second version",
    "Vectors in input order, under each type asked for",
    body=EmbedBodyV2,
    example={"texts": ["hello"], "input_type": "search_query", "embedding_types": ["float", "int8"]},
    errors=MODEL_ERRORS,
    response=ByType,
)
async def cohere_embed_v2(request: Request) -> Response:
    began = time.perf_counter()
    values = await json_object(request)
    body = check(EmbedBodyV2, _given(values))
    if (body.texts is None) == (body.inputs is None):
        raise InvalidRequest("Send `texts` (a list) or `inputs` (a list of {content}), one of them", param="texts")
    texts = body.all_texts()
    result = await _embed(request, body, texts, dimensions=body.output_dimension, text_tokens=body.max_tokens)
    return _by_type(texts, body.embedding_types or ["float"], result, "2", began)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """Without nulls. Raises InvalidRequest for images, which would otherwise be an unknown key."""
    given = without_nulls(values)
    if given.get("images"):
        raise InvalidRequest(_NO_IMAGES, param="images")
    for each in _list(given.get("inputs")):
        for part in _list(each.get("content") if isinstance(each, dict) else None):
            if isinstance(part, dict) and part.get("type") == "image_url":
                raise InvalidRequest(_NO_IMAGES, param="inputs")
    return given


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


async def _embed(request: Request, body: EmbedBody, texts: Sequence[str], **rest: Any) -> Embedded:
    field = "inputs" if getattr(body, "inputs", None) is not None else "texts"
    asked = EmbedRequest(texts, model=body.model, kind=body.input_type, truncation=body.truncate, field=field, **rest)
    return await unless_gone(request, parts_of(request).embed.embed(asked))


def _by_type(
    texts: Sequence[str], kinds: Sequence[EmbeddingType], result: Embedded, version: str, began: float
) -> Response:
    embeddings = {kind: _vectors(result, kind) for kind in kinds}
    return success(_content(version, texts, "embeddings_by_type", embeddings, result), result, began)


def _vectors(result: Embedded, kind: EmbeddingType) -> list[Any]:
    if kind == "base64":
        return [embedding_value(row, as_base64=True) for row in result.rows]
    return list(quantize(result.rows, kind))


def _content(version: str, texts: Sequence[str], shape: str, embeddings: Any, result: Embedded) -> dict[str, Any]:
    return {
        "id": f"emb-{random.getrandbits(96):024x}",
        "response_type": shape,
        "embeddings": embeddings,
        "texts": texts,
        "meta": {"api_version": {"version": version}, "billed_units": {"input_tokens": result.tokens}},
    }
