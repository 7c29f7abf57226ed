"""text-embeddings-inference's `GET /info`: one model as a server of its own would describe it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

import sekisho
from sekisho.assemble import Parts, placement
from sekisho.catalog.registry import Spec
from sekisho.contract import Contract
from sekisho.http.answers import json_response
from sekisho.http.openapi import MODEL_ERRORS, Dialect
from sekisho.http.wiring import model_of, parts_of
from sekisho.runtime.machine import this_machine
from sekisho.runtime.select import batch_tokens, choose
from sekisho.service.model_names import find_model

dialect = Dialect("text-embeddings-inference")

#: Clients cut their requests by it. Here any number goes; larger ones only wait longer for their first byte.
_CLIENT_BATCH = 1024
_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "int8"}


class Pooled(BaseModel):
    """Of an embedding model."""

    pooling: str


class Labelled(BaseModel):
    """Of a reranker."""

    id2label: dict[str, str]
    label2id: dict[str, int]


class Info(BaseModel):
    """`model_type` has one key."""

    model_id: str
    model_sha: str | None
    model_dtype: str
    served_model_name: str
    model_type: dict[Literal["embedding", "reranker", "classifier"], Pooled | Labelled]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None
    docker_label: str | None


@dialect.get(
    "/info",
    "What a model is",
    "The default embedding model, or the one named",
    errors=MODEL_ERRORS,
    query={"model": "Left out: the default embedding model; `/m/{model}/info` names one too"},
    response=Info,
)
async def tei_info(request: Request) -> Response:
    """The model is loaded where the registry does not say how long its texts may be."""
    parts = parts_of(request)
    registry, name = parts.catalog.registry, model_of(request)
    spec = find_model(registry, name)[0] if name else registry.default("embedding")
    engine = parts.pool.engine(spec)
    contract = engine.contract if engine is not None else None
    if contract is None and (spec.max_tokens is None or spec.kind == "reranker"):
        async with parts.pool.use(spec) as loaded:
            contract = loaded.contract
    return json_response(_info(parts, spec, contract))


def _info(parts: Parts, spec: Spec, contract: Contract | None) -> dict[str, Any]:
    longest = (contract.max_tokens if contract else 0) or spec.max_tokens or 0
    settings = parts.settings
    return {
        "model_id": spec.source.hub or spec.name,
        "model_sha": spec.source.revision,
        "model_dtype": _dtype(parts, spec, contract),
        "served_model_name": spec.name,
        "model_type": _model_type(spec, contract),
        "max_concurrent_requests": max(1, settings.max_queue_tokens // max(1, longest)),
        "max_input_length": longest,
        "max_batch_tokens": batch_tokens(settings.batch_tokens, placement(settings.device).device),
        "max_batch_requests": None,
        "max_client_batch_size": _CLIENT_BATCH,
        "auto_truncate": spec.truncate,
        "tokenization_workers": this_machine().cores,
        "version": sekisho.__version__,
        "sha": None,
        "docker_label": None,
    }


def _dtype(parts: Parts, spec: Spec, contract: Contract | None) -> str:
    """What it computes with, or would on this machine."""
    if spec.upstream is not None:
        return "unknown"
    if contract is not None and "int8" in contract.numbers:
        return "int8"
    where = placement(parts.settings.device)
    return _DTYPES[choose(this_machine(), parts.settings.engine, spec.precision, None, contract, where).precision]


def _model_type(spec: Spec, contract: Contract | None) -> dict[str, Any]:
    if spec.kind == "embedding":
        return {"embedding": {"pooling": spec.pooling or (contract.pooling if contract else None) or "mean"}}
    labels = [f"LABEL_{number}" for number in range((contract.width if contract else 0) or 1)]
    kind = "reranker" if len(labels) == 1 else "classifier"
    names = {str(number): label for number, label in enumerate(labels)}
    return {kind: {"id2label": names, "label2id": {label: number for number, label in enumerate(labels)}}}
