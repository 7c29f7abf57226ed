"""vLLM's scores of pairs: one text with many, or each with the one of its place."""

from __future__ import annotations

import random
import time
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from sekisho.errors import InvalidRequest
from sekisho.http.answers import success
from sekisho.http.bodies import Truncate, check, without_nulls
from sekisho.http.departure import unless_gone
from sekisho.http.documents import DOCUMENTS_SCHEMA, read_documents
from sekisho.http.openapi import MODEL_ERRORS, Dialect
from sekisho.http.wiring import json_object, parts_of
from sekisho.service.pairs import Reading

dialect = Dialect("score")

_TEXTS_SCHEMA = {"anyOf": [{"type": "string"}, DOCUMENTS_SCHEMA]}
#: What versions of vLLM have called them; the first is ours in errors.
_FIRST = ("text_1", "queries", "data_1")
_SECOND = ("text_2", "documents", "items", "data_2")


class ScoreBody(BaseModel):
    """Every optional key may be null; keys that are not listed are ignored."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True, title="ScoreRequest")

    text_1: Annotated[Any, Field(json_schema_extra=_TEXTS_SCHEMA, validation_alias=AliasChoices(*_FIRST))]
    text_2: Annotated[Any, Field(json_schema_extra=_TEXTS_SCHEMA, validation_alias=AliasChoices(*_SECOND))]
    model: Annotated[str | None, Field(description="Short name, alias or hub id; left out: the default reranker")] = (
        None
    )
    use_activation: Annotated[
        bool,
        Field(
            description="false: the model's logits in place of scores between 0 and 1",
            validation_alias=AliasChoices("use_activation", "activation"),
        ),
    ] = True
    truncate: Annotated[
        Truncate, Field(description="Cut pairs that are too long (true, END, START) or refuse them (false, NONE)")
    ] = None
    instruction: Annotated[str | None, Field(description="What to look for, to models that can be told")] = None


class PairScore(BaseModel):
    """Of a pair, by its place."""

    index: int
    object: Literal["score"]
    score: float


class Usage(BaseModel):
    """Tokens of all pairs."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int


class Scores(BaseModel):
    """As vLLM answers."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[PairScore]
    usage: Usage


@dialect.post(
    "/v1/score",
    "Pairs of texts → their scores",
    "A score a pair, in input order",
    body=ScoreBody,
    example={"text_1": "東京駅への行き方", "text_2": ["東京駅は丸の内にある", "猫は寝ている"]},
    errors=MODEL_ERRORS,
    response=Scores,
    aliases=("/score",),
)
async def score(request: Request) -> Response:
    """One `text_1` is scored with each `text_2`; of as many, each with the one of its place."""
    began = time.perf_counter()
    body = check(ScoreBody, without_nulls(await json_object(request)))
    first, second = read_documents(body.text_1, "text_1").texts, read_documents(body.text_2, "text_2").texts
    if len(first) not in {1, len(second)}:
        raise InvalidRequest(
            f"`text_1` holds {len(first)} texts and `text_2` {len(second)}: send one `text_1` for all, or as many",
            param="text_1",
        )
    reading = Reading(body.truncate, body.instruction, field="text_2")
    service = parts_of(request).rerank
    asked = first[0] if len(first) == 1 else first
    result = await unless_gone(request, service.score(body.model, asked, second, reading))
    scores = result.scores(raw=not body.use_activation)
    content = {
        "id": f"score-{random.getrandbits(96):024x}",
        "object": "list",
        "created": int(time.time()),
        "model": body.model or result.spec.name,
        "data": [{"index": index, "object": "score", "score": value} for index, value in enumerate(scores)],
        "usage": {"prompt_tokens": result.tokens, "total_tokens": result.tokens, "completion_tokens": 0},
    }
    return success(content, result, began)
