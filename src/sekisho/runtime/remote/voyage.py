"""Voyage's API."""

from __future__ import annotations

from typing import Any

from sekisho.runtime.remote.dialect import Answer, Dialect, Headers, Operation, Pairs, Texts
from sekisho.runtime.remote.openai import read_embeddings
from sekisho.runtime.remote.shapes import in_order, listed, member, scores, tokens


def embed_body(call: Texts) -> dict[str, Any]:
    """Its own names for width and kind."""
    body: dict[str, Any] = {
        "model": call.model,
        "input": list(call.texts),
        "truncation": call.truncation == "end",
        "encoding_format": "base64",
    }
    optional = {"input_type": call.kind, "output_dimension": call.dimensions}
    return body | {name: value for name, value in optional.items() if value is not None}


def rerank_body(call: Pairs) -> dict[str, Any]:
    """No `top_k`: every document is wanted."""
    return {
        "model": call.model,
        "query": call.query,
        "documents": list(call.documents),
        "truncation": call.truncation == "end",
    }


def read_data(values: Any, _headers: Headers, count: int) -> Answer:
    """`data[].relevance_score` by `index`: the shape of its vectors, not Cohere's."""
    items = in_order(listed(member(values, "data"), "data", count), count)
    rows = scores([member(item, "relevance_score") for item in items])
    return Answer(rows, tokens(values, "usage.total_tokens"))


DIALECT = Dialect(
    "voyage",
    # A call may hold 1,000 texts, older models' 128, and 120,000 tokens; a character is seldom more than one.
    embed=Operation("v1/embeddings", embed_body, read_embeddings, most=128, most_chars=100_000),
    # The query counts once for each document.
    rerank=Operation("v1/rerank", rerank_body, read_data, most=1000, most_chars=200_000),
    kinds={"query": "query", "document": "document"},
)
