"""text-embeddings-inference's own routes, which can be asked to cut; its OpenAI route cannot."""

from __future__ import annotations

import re
from typing import Any

from sekisho.runtime.remote.dialect import Answer, Dialect, Headers, Operation, Pairs, Texts
from sekisho.runtime.remote.shapes import in_order, listed, member, scores, vectors

#: What --max-client-batch-size is where nobody sets it.
_MOST = 32
_TOO_MANY = re.compile(r"batch size \d+ > maximum allowed batch size (\d+)")
_ANY: frozenset[Any] = frozenset({"end", "start", "none"})


def embed_body(call: Texts) -> dict[str, Any]:
    """It serves one model, so none is named."""
    body: dict[str, Any] = {"inputs": list(call.texts), **_cut(call.truncation)}
    optional = {"normalize": call.normalize, "prompt_name": call.kind, "dimensions": call.dimensions}
    return body | {name: value for name, value in optional.items() if value is not None}


def read_embeddings(values: Any, headers: Headers, count: int) -> Answer:
    """A bare list of vectors, in the order of the texts."""
    return Answer(vectors(listed(values, "vectors", count)), _tokens(headers))


def rerank_body(call: Pairs) -> dict[str, Any]:
    """Logits are asked for: they tell apart what the sigmoid rounds to one."""
    return {"query": call.query, "texts": list(call.documents), "raw_scores": True, **_cut(call.truncation)}


def read_ranks(values: Any, headers: Headers, count: int) -> Answer:
    """A bare list of `index` and `score`, best first: logits, as was asked."""
    items = in_order(listed(values, "scores", count), count)
    return Answer(scores([member(item, "score") for item in items]), _tokens(headers))


def too_many(message: str) -> int | None:
    """The most inputs that this server's --max-client-batch-size allows, where the message is about that."""
    found = _TOO_MANY.search(message)
    return max(1, int(found[1])) if found else None


def _cut(truncation: str) -> dict[str, Any]:
    direction = {"truncation_direction": "Left"} if truncation == "start" else {}
    return {"truncate": truncation != "none", **direction}


def _tokens(headers: Headers) -> int | None:
    """The body says nothing of tokens; this header does."""
    given = headers.get("x-compute-tokens", "")
    return int(given) if given.isascii() and given.isdigit() else None


DIALECT = Dialect(
    "tei",
    embed=Operation("embed", embed_body, read_embeddings, most=_MOST, truncations=_ANY),
    rerank=Operation("rerank", rerank_body, read_ranks, most=_MOST, truncations=_ANY),
    logits=True,
    too_many=too_many,
)
