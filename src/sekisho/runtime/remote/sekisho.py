"""Another Sekisho. It splits, prompts, cuts and counts by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sekisho.runtime.remote import openai
from sekisho.runtime.remote.dialect import Answer, Dialect, Headers, Operation, Pairs, Texts

_TRUNCATE = {"end": "END", "start": "START", "none": "NONE"}
_ANY: frozenset[Any] = frozenset(_TRUNCATE)


def embed_body(call: Texts) -> dict[str, Any]:
    """Everything is passed on."""
    optional = {"input_type": call.kind, "normalize": call.normalize}
    extensions = {name: value for name, value in optional.items() if value is not None}
    return openai.embed_body(call) | {"truncate": _TRUNCATE[call.truncation]} | extensions


def read_embeddings(values: Any, headers: Headers, count: int) -> Answer:
    """OpenAI's shape, and how many texts were cut."""
    return _with_cuts(openai.read_embeddings(values, headers, count), headers)


def rerank_body(call: Pairs) -> dict[str, Any]:
    """Everything is passed on."""
    body = openai.rerank_body(call) | {"truncate": _TRUNCATE[call.truncation]}
    return body | ({"max_tokens_per_doc": call.document_tokens} if call.document_tokens is not None else {})


def read_results(values: Any, headers: Headers, count: int) -> Answer:
    """Jina's shape, and how many documents were cut."""
    return _with_cuts(openai.read_results(values, headers, count), headers)


def _with_cuts(answer: Answer, headers: Headers) -> Answer:
    given = headers.get("x-sekisho-truncated", "")
    return replace(answer, truncated=int(given)) if given.isascii() and given.isdigit() else answer


DIALECT = Dialect(
    "sekisho",
    embed=Operation("v1/embeddings", embed_body, read_embeddings, truncations=_ANY),
    rerank=Operation("v1/rerank", rerank_body, read_results, truncations=_ANY),
    kinds={kind: kind for kind in ("query", "document", "classification", "clustering", "sts")},
    takes_empty=True,
)
