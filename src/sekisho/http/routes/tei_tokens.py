"""text-embeddings-inference's `/tokenize` and `/decode`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictInt
from starlette.requests import Request
from starlette.responses import Response

from sekisho.errors import InvalidRequest
from sekisho.http.answers import json_response
from sekisho.http.bodies import check
from sekisho.http.departure import unless_gone
from sekisho.http.openapi import MODEL_ERRORS, Dialect
from sekisho.http.tei import tei_object
from sekisho.http.wiring import parts_of

dialect = Dialect("text-embeddings-inference")


class TokenizeBody(BaseModel):
    """A text or a list of them."""

    model_config = ConfigDict(extra="ignore", title="TokenizeRequest")

    inputs: str | list[str]
    add_special_tokens: bool | None = None
    prompt_name: str | None = None
    model: str | None = None


class DecodeBody(BaseModel):
    """Token ids of the model's own vocabulary: one list, or a list of lists."""

    model_config = ConfigDict(extra="ignore", title="DecodeRequest")

    ids: list[StrictInt] | list[list[StrictInt]]
    skip_special_tokens: bool | None = None
    model: str | None = None


class Token(BaseModel):
    """start, stop: its bytes in the UTF-8 text; null for special tokens and where the tokenizer knows no places."""

    id: int
    text: str
    special: bool
    start: Annotated[int | None, Field(description="First byte")]
    stop: Annotated[int | None, Field(description="The byte behind the last")]


@dialect.post(
    "/tokenize",
    "Texts → tokens",
    "Of each text its tokens",
    body=TokenizeBody,
    example={"inputs": ["動的計画法"]},
    errors=MODEL_ERRORS,
    response=list[list[Token]],
)
async def tokenize(request: Request) -> Response:
    body = check(TokenizeBody, await tei_object(request))
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    if not texts:
        raise InvalidRequest("`inputs` is an empty list: send at least one text", param="inputs")
    special = body.add_special_tokens is not False
    work = parts_of(request).tokens.tokenize(texts, model=body.model, kind=body.prompt_name, special=special)
    return json_response(await unless_gone(request, work))


@dialect.post(
    "/decode",
    "Token ids → texts",
    "The text of each list of ids",
    body=DecodeBody,
    example={"ids": [[101, 102]]},
    errors=MODEL_ERRORS,
    response=list[str],
)
async def decode(request: Request) -> Response:
    body = check(DecodeBody, await tei_object(request))
    if not body.ids:
        raise InvalidRequest("`ids` is an empty list: send at least one id", param="ids")
    several = [ids for ids in body.ids if isinstance(ids, list)]
    ids = several or [[token_id for token_id in body.ids if isinstance(token_id, int)]]
    skip = body.skip_special_tokens is not False
    work = parts_of(request).tokens.decode(ids, model=body.model, skip_special=skip)
    return json_response(await unless_gone(request, work))
