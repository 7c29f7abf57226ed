"""OpenAI's embeddings, with the extensions clients of Japanese models need."""

from __future__ import annotations

import hashlib
import time
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from sekisho.errors import InvalidRequest
from sekisho.http.answers import embedding_value, json_response, success_headers
from sekisho.http.bodies import Dimensions, Truncate, check, read_inputs, without_nulls
from sekisho.http.departure import unless_gone
from sekisho.http.openapi import MODEL_ERRORS, Dialect
from sekisho.http.wiring import json_object, parts_of
from sekisho.observability import logger
from sekisho.service.embed import Embedded, EmbedRequest
from sekisho.service.quantize import OUTPUT_TYPES, OutputType, quantize

log = logger(__name__)
dialect = Dialect("embeddings")

_AS_BASE64: tuple[object, ...] = ("base64", ["base64"])

_INPUT_SCHEMA: dict[str, Any] = {
    "description": "A text, a list of texts, a list of token ids, a list of lists of token ids, or a list of {text}",
    "anyOf": [
        {"type": "string"},
        {"type": "array", "minItems": 1, "items": {"type": "string"}},
        {"type": "array", "minItems": 1, "items": {"type": "integer"}},
        {"type": "array", "minItems": 1, "items": {"type": "array", "items": {"type": "integer"}}},
        {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}},
        },
    ],
}


def _read_output_type(value: object) -> object:
    """`output_dtype` is a name, `embedding_types` a list of them; here a vector has one type."""
    if isinstance(value, list):
        if len(value) != 1:
            raise ValueError("a list of exactly one type on this route (/v2/embed gives several at once)")
        value = value[0]
    return "float" if value is None else value


class EmbeddingsBody(BaseModel):
    """Every optional key may be null; keys that are not listed are ignored."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True, title="EmbeddingsRequest")

    input: Annotated[Any, Field(json_schema_extra=_INPUT_SCHEMA)]
    model: Annotated[str | None, Field(description="Short name, alias or hub id; left out: the default model")] = None
    encoding_format: Annotated[
        Literal["float", "base64"] | None, Field(description="base64 is little-endian float32")
    ] = None
    dimensions: Annotated[
        Dimensions,
        Field(
            description="Cut the vectors and normalise them again",
            validation_alias=AliasChoices("dimensions", "output_dimension"),
        ),
    ] = None
    input_type: Annotated[
        str | None,
        Field(
            description="query, document, classification, clustering, sts; also Cohere's, Jina's and Voyage's words",
            validation_alias=AliasChoices("input_type", "task", "prompt_name"),
        ),
    ] = None
    apply_ruri_prefix: Annotated[
        bool | None,
        Field(description="Without input_type: the query prefix for a string, the document prefix for a list"),
    ] = None
    instruction: Annotated[str | None, Field(description="For models whose prompt has a place for a task")] = None
    truncate: Annotated[
        Truncate,
        Field(
            description="Cut texts that are too long (true, END, START) or refuse them (false, NONE)",
            validation_alias=AliasChoices("truncate", "truncation"),
        ),
    ] = None
    normalize: Annotated[bool | None, Field(validation_alias=AliasChoices("normalize", "normalized"))] = None
    output_dtype: Annotated[
        OutputType,
        BeforeValidator(_read_output_type, json_schema_input_type=OutputType | list[OutputType] | None),
        Field(
            description=f"One of {', '.join(OUTPUT_TYPES)}",
            validation_alias=AliasChoices("output_dtype", "embedding_types", "embedding_type"),
        ),
    ] = "float"
    user: Annotated[str | None, Field(description="Ignored; logged as a hash")] = None

    def to_service(self) -> EmbedRequest:
        inputs, single = read_inputs(self.input)
        return EmbedRequest(
            inputs=inputs,
            model=self.model,
            single=single,
            kind=self.input_type,
            apply_ruri_prefix=bool(self.apply_ruri_prefix),
            instruction=self.instruction,
            dimensions=self.dimensions,
            truncation=self.truncate,
            normalize=self.normalize,
        )


@dialect.post(
    "/v1/embeddings",
    "Texts → vectors",
    "Vectors in input order, and the number of tokens the model saw",
    body=EmbeddingsBody,
    example={"input": ["こんにちは", "hello"], "model": "all-minilm-l6-v2"},
    errors=MODEL_ERRORS,
    aliases=("/embeddings",),
)
async def embeddings(request: Request) -> Response:
    began = time.perf_counter()
    body = check(EmbeddingsBody, _given(await json_object(request)))
    if body.user:
        log.info("user", user=hashlib.sha256(body.user.encode()).hexdigest()[:16])
    service = parts_of(request).embed
    result = await unless_gone(request, service.embed(body.to_service()))
    content = _content(result, body)
    headers = success_headers(result.timings, time.perf_counter() - began, result.truncated)
    return json_response(content, headers)


def _content(result: Embedded, body: EmbeddingsBody) -> dict[str, Any]:
    rows = quantize(result.rows, body.output_dtype)
    as_base64 = body.encoding_format == "base64"
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": embedding_value(row, as_base64=as_base64)}
            for index, row in enumerate(rows)
        ],
        "model": body.model or result.spec.name,
        "usage": {"prompt_tokens": result.tokens, "total_tokens": result.tokens},
    }


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """What the client said: without nulls, and with Jina's word for base64 in OpenAI's."""
    if "input" in values and values["input"] is None:
        raise InvalidRequest("`input` must be a string or a list, not null", param="input")
    given = without_nulls(values)
    for key in ("embedding_type", "embedding_types"):
        if given.get(key) in _AS_BASE64:
            given |= {key: "float", "encoding_format": "base64"}
    return given
