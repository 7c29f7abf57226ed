"""Reranking: the object of Cohere, Jina, Voyage and vLLM for `documents`, the list of TEI for `texts`."""

from __future__ import annotations

import math
import random
import time
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from sekisho.contract import Truncation
from sekisho.errors import InvalidRequest
from sekisho.http.answers import success
from sekisho.http.bodies import Truncate, check, without_nulls
from sekisho.http.departure import unless_gone
from sekisho.http.documents import DOCUMENTS_SCHEMA, Documents, read_documents
from sekisho.http.guards import TEI_SHAPED
from sekisho.http.openapi import MODEL_ERRORS, Dialect
from sekisho.http.wiring import json_object, parts_of
from sekisho.service.pairs import Reading
from sekisho.service.rerank import Scored

dialect = Dialect("rerank")

#: So many documents Cohere bills as one search.
_DOCUMENTS_A_SEARCH = 100


def _read_count(value: object) -> object:
    """Some clients send 0 for "all of them"."""
    if isinstance(value, bool):
        raise ValueError("a number")
    return None if isinstance(value, int | float | str) and value in {0, "0"} else value


def _read_text(value: object) -> object:
    return value["text"] if isinstance(value, dict) and isinstance(value.get("text"), str) else value


def _fold(value: object) -> object:
    return value.casefold() if isinstance(value, str) else value


Count = Annotated[
    int | None,
    Field(ge=1),
    BeforeValidator(_read_count, json_schema_input_type=Annotated[int, Field(ge=0)] | None),
]


class RerankBody(BaseModel):
    """Either `documents` or `texts`. Every optional key may be null; keys that are not listed are ignored."""

    model_config = ConfigDict(
        extra="ignore",
        populate_by_name=True,
        title="RerankRequest",
        json_schema_extra={"oneOf": [{"required": ["documents"]}, {"required": ["texts"]}]},
    )

    query: Annotated[str, BeforeValidator(_read_text, json_schema_input_type=str)]
    documents: Annotated[Any, Field(json_schema_extra=DOCUMENTS_SCHEMA)] = None
    texts: Annotated[
        Any, Field(json_schema_extra=DOCUMENTS_SCHEMA | {"description": "Answered as text-embeddings-inference does"})
    ] = None
    model: Annotated[str | None, Field(description="Short name, alias or hub id; left out: the default reranker")] = (
        None
    )
    top_n: Annotated[
        Count,
        Field(description="So many of the best; 0: all", validation_alias=AliasChoices("top_n", "top_k")),
    ] = None
    return_documents: Annotated[bool, Field(description="Send each document back with its score")] = False
    return_text: Annotated[bool, Field(description="The same for `texts`")] = False
    raw_scores: Annotated[bool, Field(description="The model's logits in place of scores between 0 and 1")] = False
    use_activation: Annotated[bool, Field(description="false is vLLM's word for `raw_scores`")] = True
    max_tokens_per_doc: Annotated[Count, Field(description="Read at most so many tokens of each document")] = None
    truncate: Annotated[
        Truncate,
        Field(
            description="Cut documents that are too long (true, END, START) or refuse them (false, NONE)",
            validation_alias=AliasChoices("truncate", "truncation"),
        ),
    ] = None
    truncation_direction: Annotated[
        Literal["left", "right"] | None,
        BeforeValidator(_fold, json_schema_input_type=Literal["left", "right", "Left", "Right"] | None),
    ] = None
    instruction: Annotated[str | None, Field(description="What to look for, to models that can be told")] = None
    rank_fields: Annotated[
        list[str] | None, Field(description="Which fields of documents that are objects are read")
    ] = None

    @property
    def field(self) -> str:
        return "documents" if self.documents is not None else "texts"

    @property
    def raw(self) -> bool:
        return self.raw_scores or not self.use_activation

    def reading(self) -> Reading:
        return Reading(self._truncation(), self.instruction, self.max_tokens_per_doc, self.field)

    def _truncation(self) -> Truncation | None:
        left = self.truncation_direction == "left" and self.truncate != "none"
        return "start" if left else self.truncate


class DocumentText(BaseModel):
    """A document, as clients of Cohere read it."""

    text: str


class Result(BaseModel):
    """A document's place in the request and its score, the best first."""

    index: int
    relevance_score: float
    document: DocumentText | str | None = None


class Data(BaseModel):
    """The same for clients of Voyage."""

    index: int
    relevance_score: float
    score: float
    document: str | None = None


class Usage(BaseModel):
    """Tokens of all pairs."""

    prompt_tokens: int
    total_tokens: int


class Reranked(BaseModel):
    """The answer to `documents`."""

    id: str
    object: Literal["rerank"]
    created: int
    model: str
    query: str
    results: list[Result]
    data: list[Data]
    usage: Usage
    meta: dict[str, Any]


class TextScore(BaseModel):
    """Of the answer to `texts`."""

    index: int
    score: float
    text: str | None = None


_EXAMPLE = {"query": "東京駅への行き方", "documents": ["東京駅は丸の内にある", "猫は寝ている"], "top_n": 1}


@dialect.post(
    "/v1/rerank",
    "A query and documents → the documents by relevance",
    "The best first, equals in input order",
    body=RerankBody,
    example=_EXAMPLE,
    errors=MODEL_ERRORS,
    response=Reranked | list[TextScore],
    aliases=("/rerank", "/v2/rerank", "/v1/reranks", "/reranking"),
)
async def rerank(request: Request) -> Response:
    """The answer has the shape of the question: an object for `documents`, a list for `texts`."""
    return await _rerank(request, plain=False)


@dialect.post(
    "/infinity/rerank",
    "The same for clients of Infinity",
    "As /v1/rerank, `results[].document` a plain string",
    body=RerankBody,
    example=_EXAMPLE,
    errors=MODEL_ERRORS,
    response=Reranked | list[TextScore],
    aliases=("/infinity/v1/rerank",),
)
async def infinity_rerank(request: Request) -> Response:
    """One client cannot read a document that is an object: on this path it is a string."""
    return await _rerank(request, plain=True)


async def _rerank(request: Request, *, plain: bool) -> Response:
    began = time.perf_counter()
    values = without_nulls(await json_object(request))
    request.scope[TEI_SHAPED] = "texts" in values and "documents" not in values
    body = check(RerankBody, values)
    if body.documents is None and body.texts is None:
        raise InvalidRequest("`documents` is missing: send a list of texts", param="documents")
    documents = read_documents(getattr(body, body.field), body.field, body.rank_fields)
    service = parts_of(request).rerank
    result = await unless_gone(request, service.score(body.model, body.query, documents.texts, body.reading()))
    content = _list(result, body, documents) if body.documents is None else _object(result, body, documents, plain)
    return success(content, result, began)


def _list(result: Scored, body: RerankBody, documents: Documents) -> list[dict[str, Any]]:
    scores, with_text = result.scores(raw=body.raw), body.return_text
    return [
        {"index": index, "score": scores[index]} | ({"text": documents.texts[index]} if with_text else {})
        for index in result.order(body.top_n)
    ]


def _object(result: Scored, body: RerankBody, documents: Documents, plain: bool) -> dict[str, Any]:
    """Both `results` and `data`: some clients read the one, some the other. A key that says nothing is left out."""
    scores, order = result.scores(raw=body.raw), result.order(body.top_n)
    results = [{"index": index, "relevance_score": scores[index]} for index in order]
    data: list[dict[str, Any]] = [one | {"score": one["relevance_score"]} for one in results]
    if body.return_documents:
        for one, other in zip(results, data, strict=True):
            text = other["document"] = documents.texts[one["index"]]
            one["document"] = text if plain else documents.as_object(one["index"])
    searches = math.ceil(len(documents.texts) / _DOCUMENTS_A_SEARCH)
    return {
        "id": f"rr-{random.getrandbits(96):024x}",
        "object": "rerank",
        "created": 0,
        "model": body.model or result.spec.name,
        "query": body.query,
        "results": results,
        "data": data,
        "usage": {"prompt_tokens": result.tokens, "total_tokens": result.tokens},
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": searches},
            "tokens": {"input_tokens": result.tokens, "output_tokens": 0},
        },
    }
