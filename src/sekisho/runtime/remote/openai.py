"""OpenAI's embeddings, as many services speak them, and the rerank route that such services add beside it."""

from __future__ import annotations

from typing import Any

from sekisho.runtime.remote.dialect import Answer, Dialect, Headers, Operation, Pairs, Texts
from sekisho.runtime.remote.shapes import in_order, listed, member, scores, tokens, vectors


def embed_body(call: Texts) -> dict[str, Any]:
    """Base64, which every client of OpenAI's asks for; floats are read where they come all the same."""
    body: dict[str, Any] = {"model": call.model, "input": list(call.texts), "encoding_format": "base64"}
    return body | ({"dimensions": call.dimensions} if call.dimensions is not None else {})


def read_embeddings(values: Any, _headers: Headers, count: int) -> Answer:
    """`data[].embedding`, base64 or numbers, by `index`."""
    items = in_order(listed(member(values, "data"), "data", count), count)
    rows = vectors([member(item, "embedding") for item in items])
    return Answer(rows, tokens(values, "usage.prompt_tokens", "usage.total_tokens"))


def rerank_body(call: Pairs) -> dict[str, Any]:
    """Jina's shape, which the others took over."""
    return {"model": call.model, "query": call.query, "documents": list(call.documents), "return_documents": False}


def read_results(values: Any, _headers: Headers, count: int) -> Answer:
    """`results[].relevance_score` by `index`."""
    items = in_order(listed(member(values, "results"), "results", count), count)
    rows = scores([member(item, "relevance_score") for item in items])
    return Answer(rows, tokens(values, "usage.total_tokens", "usage.prompt_tokens", "meta.tokens.input_tokens"))


DIALECT = Dialect(
    "openai",
    # 2,048 texts and 300,000 tokens a call; a character of Japanese can be three tokens of cl100k.
    embed=Operation("v1/embeddings", embed_body, read_embeddings, most=2048, most_chars=100_000),
    rerank=Operation("v1/rerank", rerank_body, read_results, most=1000),
)
