"""`POST /`: clients of text-embeddings-inference post to the bare base URL, whatever they want of it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from sekisho.errors import InvalidRequest, SekishoError
from sekisho.http.openapi import MODEL_ERRORS, Dialect
from sekisho.http.wiring import answer_as, json_object, parts_of
from sekisho.service.model_names import find_model

dialect = Dialect("text-embeddings-inference")


class RootBody(BaseModel):
    """The body of `/embed`, `/similarity`, `/predict` or `/rerank`."""

    model_config = ConfigDict(
        extra="ignore",
        title="RootRequest",
        json_schema_extra={"anyOf": [{"required": ["inputs"]}, {"required": ["texts", "query"]}]},
    )

    inputs: Annotated[Any, Field(description="As in /embed; for a model of rerankers, as in /predict")] = None
    query: Annotated[str | None, Field(description="With `texts`: as in /rerank")] = None
    texts: list[str] | None = None
    model: str | None = None


@dialect.post(
    "/",
    "What the body is for",
    "What that route answers",
    body=RootBody,
    example={"inputs": "What is Deep Learning?"},
    errors=MODEL_ERRORS,
    response=list[Any],
)
async def tei_root(request: Request) -> Response:
    """`texts` with a `query` go to /rerank; `inputs` to /embed, /similarity, or for a reranker to /predict."""
    values = await json_object(request)
    if values.get("texts") is not None and values.get("query") is not None:
        return await answer_as("/rerank", request, values)
    inputs = values.get("inputs")
    if inputs is None:
        raise InvalidRequest("Send `inputs` for vectors, or `query` and `texts` to rank them", param="inputs")
    if isinstance(inputs, dict):
        return await answer_as("/similarity", request, values)
    return await answer_as("/predict" if _is_of_reranker(request, values) else "/embed", request, values)


def _is_of_reranker(request: Request, values: dict[str, Any]) -> bool:
    name = values.get("model")
    if not isinstance(name, str) or not name:
        return False
    try:
        return find_model(parts_of(request).catalog.registry, name)[0].kind == "reranker"
    except SekishoError:
        return False
