"""Cohere's API, version 2."""

from __future__ import annotations

from typing import Any

from sekisho.runtime.remote.dialect import Answer, Dialect, Headers, Operation, Pairs, Texts
from sekisho.runtime.remote.openai import read_results
from sekisho.runtime.remote.shapes import listed, member, tokens, vectors

_TRUNCATE = {"end": "END", "start": "START", "none": "NONE"}


def embed_body(call: Texts) -> dict[str, Any]:
    """One vector type, as floats; `input_type` must be there."""
    body: dict[str, Any] = {
        "model": call.model,
        "texts": list(call.texts),
        "input_type": call.kind,
        "embedding_types": ["float"],
        "truncate": _TRUNCATE[call.truncation],
    }
    return body | ({"output_dimension": call.dimensions} if call.dimensions is not None else {})


def read_embeddings(values: Any, _headers: Headers, count: int) -> Answer:
    """`embeddings.float`, in the order of the texts."""
    rows = vectors(listed(member(member(values, "embeddings"), "float"), "embeddings", count))
    return Answer(rows, tokens(values, "meta.billed_units.input_tokens", "meta.tokens.input_tokens"))


def rerank_body(call: Pairs) -> dict[str, Any]:
    """Version 2 knows no `return_documents`, and cuts what is too long unasked."""
    body: dict[str, Any] = {"model": call.model, "query": call.query, "documents": list(call.documents)}
    return body | ({"max_tokens_per_doc": call.document_tokens} if call.document_tokens is not None else {})


DIALECT = Dialect(
    "cohere",
    embed=Operation("v2/embed", embed_body, read_embeddings, most=96, truncations=frozenset({"end", "start", "none"})),
    rerank=Operation("v2/rerank", rerank_body, read_results, most=1000),
    kinds={
        "query": "search_query",
        "document": "search_document",
        "classification": "classification",
        "clustering": "clustering",
    },
    default_kind="search_document",  # it has no neutral kind, and refuses a call that names none
)
