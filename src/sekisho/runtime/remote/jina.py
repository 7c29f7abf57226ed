"""Jina's Search Foundation API."""

from __future__ import annotations

from typing import Any

from sekisho.runtime.remote.dialect import Dialect, Operation, Texts
from sekisho.runtime.remote.openai import read_embeddings, read_results, rerank_body


def embed_body(call: Texts) -> dict[str, Any]:
    """`truncate` cuts the tail; without it a text that is too long is refused."""
    body: dict[str, Any] = {
        "model": call.model,
        "input": list(call.texts),
        "embedding_type": "base64",
        "truncate": call.truncation == "end",
    }
    optional = {"task": call.kind, "dimensions": call.dimensions, "normalized": call.normalize}
    return body | {name: value for name, value in optional.items() if value is not None}


DIALECT = Dialect(
    "jina",
    embed=Operation("v1/embeddings", embed_body, read_embeddings, most=512, most_chars=100_000),
    rerank=Operation("v1/rerank", rerank_body, read_results, most=1000),
    kinds={
        "query": "retrieval.query",
        "document": "retrieval.passage",
        "classification": "classification",
        "clustering": "separation",
        "sts": "text-matching",
    },
)
