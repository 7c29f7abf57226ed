"""text-embeddings-inference's `/embed_sparse` and `/embed_all`: something for each token, of models that give it."""

from __future__ import annotations

import time
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from sekisho.http.answers import success
from sekisho.http.bodies import check
from sekisho.http.departure import unless_gone
from sekisho.http.openapi import MODEL_ERRORS, Dialect
from sekisho.http.tei import Prompted, tei_object
from sekisho.http.wiring import parts_of
from sekisho.service.token_vectors import TokenRequest

dialect = Dialect("text-embeddings-inference")


class TokensBody(Prompted):
    """A text or a list of them."""

    model_config = ConfigDict(extra="ignore", title="TokenVectorsRequest")

    inputs: Annotated[str | list[str], Field(min_length=0)]

    def to_service(self) -> TokenRequest:
        texts = [self.inputs] if isinstance(self.inputs, str) else self.inputs
        return TokenRequest(texts, self.model, self.prompt_name, self.truncation)


class SparseValue(BaseModel):
    """index: the token's id; value: how much it matters."""

    index: int
    value: float


@dialect.post(
    "/embed_sparse",
    "Texts → a weight for each of their tokens",
    "Of each text its tokens and their weights, by token id",
    body=TokensBody,
    example={"inputs": "What is Deep Learning?", "model": "bge-m3"},
    errors=MODEL_ERRORS,
    response=list[list[SparseValue]],
)
async def embed_sparse(request: Request) -> Response:
    """For models whose registry entry has `heads: [sparse]`."""
    began = time.perf_counter()
    asked = check(TokensBody, await tei_object(request)).to_service()
    result = await unless_gone(request, parts_of(request).token_vectors.sparse(asked))
    content = [
        [{"index": index, "value": value} for index, value in sorted(weights.items())] for weights in result.weights
    ]
    return success(content, result, began)


@dialect.post(
    "/embed_all",
    "Texts → a vector for each of their tokens",
    "Of each text a list of vectors",
    body=TokensBody,
    example={"inputs": "What is Deep Learning?", "model": "bge-m3"},
    errors=MODEL_ERRORS,
    response=list[list[list[float]]],
)
async def embed_all(request: Request) -> Response:
    """For models whose registry entry has `heads: [colbert]`; without the special token a text begins with."""
    began = time.perf_counter()
    asked = check(TokensBody, await tei_object(request)).to_service()
    result = await unless_gone(request, parts_of(request).token_vectors.multi(asked))
    return success([list(rows) for rows in result.vectors], result, began)
