"""vLLM's server for pooling models: OpenAI's embeddings and Jina's rerank, with a way to ask for a cut."""

from __future__ import annotations

from typing import Any

from sekisho.runtime.remote import openai
from sekisho.runtime.remote.dialect import Dialect, Operation, Pairs, Texts

#: -1: to the length of the model. Without it a text that is too long is refused.
_CUT = {"truncate_prompt_tokens": -1}


def embed_body(call: Texts) -> dict[str, Any]:
    """OpenAI's, with a cut."""
    return openai.embed_body(call) | (_CUT if call.truncation == "end" else {})


def rerank_body(call: Pairs) -> dict[str, Any]:
    """Jina's, with a cut."""
    body = {"model": call.model, "query": call.query, "documents": list(call.documents)}
    return body | (_CUT if call.truncation == "end" else {})


DIALECT = Dialect(
    "vllm",
    embed=Operation("v1/embeddings", embed_body, openai.read_embeddings, most=512),
    rerank=Operation("v1/rerank", rerank_body, openai.read_results, most=512),
)
