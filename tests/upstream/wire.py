"""Seven services as they are on the wire: what they take, refuse and answer, with vectors and scores made of the text.

Shapes: Cohere v2 and Voyage API references, Jina's OpenAPI document, OpenAI's, text-embeddings-inference's
router/src/http/types.rs, vLLM's pooling entrypoints. Each is strict: a call that its own service would refuse is a 4xx.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEY = "key-of-the-service-0123456789"
MODEL = "model-there"
WIDTH = 32

Rows = NDArray[np.float32]


class Refused(Exception):
    """The service answers with an error of its own shape."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Reply:
    """What goes back: JSON values and headers."""

    values: Any
    headers: dict[str, str]


def vector(text: str, width: int = WIDTH, kind: str | None = None) -> Rows:
    """The vector of a text, of length 1; another for each kind."""
    seed = hashlib.sha256(f"{kind or ''}|{text}".encode()).digest()
    full = np.random.default_rng(int.from_bytes(seed[:8], "little")).standard_normal(WIDTH).astype(np.float32)
    cut = full[:width]
    return (cut / np.linalg.norm(cut)).astype(np.float32)


def logit(query: str, document: str) -> float:
    """The logit of a pair, as a float32."""
    seed = hashlib.sha256(f"{query}|{document}".encode()).digest()
    return float(np.float32(int.from_bytes(seed[:4], "little") / 2**32 * 12 - 6))


def score(query: str, document: str) -> float:
    """The sigmoid of the logit, as a float32."""
    return float(np.float32(1 / (1 + np.exp(-np.float64(logit(query, document))))))


def count(*texts: str) -> int:
    """Tokens, as these services count: four bytes each, and two around a text."""
    return sum(2 + (len(text.encode()) + 3) // 4 for text in texts)


def _base64(row: Rows) -> str:
    return base64.b64encode(row.astype("<f4").tobytes()).decode()


def _only(body: dict[str, Any], required: set[str], optional: set[str], status: int = 422) -> None:
    missing, unknown = required - body.keys(), body.keys() - required - optional
    if missing:
        raise Refused(status, f"missing: {', '.join(sorted(missing))}")
    if unknown:
        raise Refused(status, f"unknown: {', '.join(sorted(unknown))}")


def _texts(values: Any, most: int | None, status: int = 400, *, empty: bool = False) -> list[str]:
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise Refused(status, "a list of texts is needed")
    if most is not None and len(values) > most:
        raise Refused(status, f"at most {most} texts, not {len(values)}")
    if not empty and not all(values):
        raise Refused(status, "a text is empty")
    return values


def _model(body: dict[str, Any]) -> None:
    if body["model"] != MODEL:
        raise Refused(404, f"model {body['model']} not found")


def _shuffled(items: list[Any]) -> list[Any]:
    """Nobody may rely on the order where an index is given."""
    return [items[i] for i in np.random.default_rng(len(items)).permutation(len(items))]


def _data(texts: list[str], width: int, kind: str | None, *, as_base64: bool) -> list[dict[str, Any]]:
    rows = [vector(text, width, kind) for text in texts]
    return _shuffled(
        [
            {"object": "embedding", "index": i, "embedding": _base64(row) if as_base64 else row.tolist()}
            for i, row in enumerate(rows)
        ]
    )


def _ranked(query: str, documents: list[str]) -> list[dict[str, Any]]:
    results = [{"index": i, "relevance_score": score(query, text)} for i, text in enumerate(documents)]
    return sorted(results, key=lambda result: -result["relevance_score"])


def _long(texts: list[str], cut: bool, most: int = 8192) -> None:
    if not cut and any(len(text) > most for text in texts):
        raise Refused(400, f"a text is longer than {most} characters")


def openai_embed(body: dict[str, Any]) -> Reply:
    _only(body, {"model", "input"}, {"encoding_format", "dimensions", "user"}, 400)
    _model(body)
    texts = _texts(body["input"], 2048)
    _long(texts, cut=False)
    data = _data(texts, body.get("dimensions", WIDTH), None, as_base64=body.get("encoding_format") == "base64")
    usage = {"prompt_tokens": count(*texts), "total_tokens": count(*texts)}
    return Reply({"object": "list", "data": data, "model": MODEL, "usage": usage}, {})


def vllm_embed(body: dict[str, Any]) -> Reply:
    optional = {"encoding_format", "dimensions", "user", "truncate_prompt_tokens"}
    _only(body, {"model", "input"}, optional, 400)
    _model(body)
    texts = _texts(body["input"], None, empty=True)
    _long(texts, cut=body.get("truncate_prompt_tokens") == -1)
    data = _data(texts, body.get("dimensions", WIDTH), None, as_base64=body.get("encoding_format") == "base64")
    usage = {"prompt_tokens": count(*texts), "total_tokens": count(*texts), "completion_tokens": 0}
    return Reply({"id": "embd-1", "object": "list", "created": 1, "model": MODEL, "data": data, "usage": usage}, {})


def vllm_rerank(body: dict[str, Any]) -> Reply:
    _only(body, {"model", "query", "documents"}, {"top_n", "truncate_prompt_tokens", "user"}, 400)
    _model(body)
    documents = _texts(body["documents"], None, empty=True)
    results = [
        {**result, "document": {"text": documents[result["index"]]}} for result in _ranked(body["query"], documents)
    ]
    usage = {"total_tokens": count(*documents)}
    return Reply({"id": "rerank-1", "model": MODEL, "usage": usage, "results": results}, {})


_COHERE_KINDS = {"search_query", "search_document", "classification", "clustering", "image"}


def cohere_embed(body: dict[str, Any]) -> Reply:
    _only(
        body, {"model", "texts", "input_type", "embedding_types"}, {"truncate", "output_dimension", "max_tokens"}, 400
    )
    _model(body)
    texts = _texts(body["texts"], 96)
    if body["input_type"] not in _COHERE_KINDS:
        raise Refused(400, f"invalid input_type: {body['input_type']}")
    if body.get("truncate", "END") not in {"NONE", "START", "END"} or body["embedding_types"] != ["float"]:
        raise Refused(400, "invalid request")
    _long(texts, cut=body.get("truncate") != "NONE")
    width = body.get("output_dimension", WIDTH)
    rows = [vector(text, width, body["input_type"]).tolist() for text in texts]
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": count(*texts)}}
    values = {"id": "e-1", "response_type": "embeddings_by_type", "embeddings": {"float": rows}, "texts": texts}
    return Reply(values | {"meta": meta}, {})


def cohere_rerank(body: dict[str, Any]) -> Reply:
    _only(body, {"model", "query", "documents"}, {"top_n", "max_tokens_per_doc", "priority"}, 400)
    _model(body)
    documents = _texts(body["documents"], 1000)
    meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
    return Reply({"id": "r-1", "results": _ranked(body["query"], documents), "meta": meta}, {})


_JINA_TASKS = {"retrieval.query", "retrieval.passage", "classification", "separation", "text-matching"}


def jina_embed(body: dict[str, Any]) -> Reply:
    optional = {"task", "dimensions", "embedding_type", "normalized", "truncate", "late_chunking"}
    _only(body, {"model", "input"}, optional)
    _model(body)
    texts = _texts(body["input"], 512, 422)
    if body.get("task", "retrieval.query") not in _JINA_TASKS:
        raise Refused(422, f"invalid task: {body['task']}")
    _long(texts, cut=bool(body.get("truncate")))
    as_base64 = body.get("embedding_type") == "base64"
    data = _data(texts, body.get("dimensions", WIDTH), body.get("task"), as_base64=as_base64)
    usage = {"total_tokens": count(*texts), "prompt_tokens": count(*texts)}
    return Reply({"model": MODEL, "object": "list", "usage": usage, "data": data}, {})


def jina_rerank(body: dict[str, Any]) -> Reply:
    _only(body, {"model", "query", "documents"}, {"top_n", "return_documents"})
    _model(body)
    documents = _texts(body["documents"], 2048, 422)
    results = _ranked(body["query"], documents)
    if body.get("return_documents", True):
        results = [{**result, "document": {"text": documents[result["index"]]}} for result in results]
    return Reply(
        {"model": MODEL, "object": "list", "usage": {"total_tokens": count(*documents)}, "results": results}, {}
    )


def voyage_embed(body: dict[str, Any]) -> Reply:
    optional = {"input_type", "truncation", "output_dimension", "output_dtype", "encoding_format"}
    _only(body, {"model", "input"}, optional, 400)
    _model(body)
    texts = _texts(body["input"], 128)
    if body.get("input_type") not in {None, "query", "document"}:
        raise Refused(400, f"invalid input_type: {body['input_type']}")
    _long(texts, cut=bool(body.get("truncation", True)))
    as_base64 = body.get("encoding_format") == "base64"
    data = _data(texts, body.get("output_dimension", WIDTH), body.get("input_type"), as_base64=as_base64)
    return Reply({"object": "list", "data": data, "model": MODEL, "usage": {"total_tokens": count(*texts)}}, {})


def voyage_rerank(body: dict[str, Any]) -> Reply:
    _only(body, {"model", "query", "documents"}, {"top_k", "return_documents", "truncation"}, 400)
    _model(body)
    documents = _texts(body["documents"], 1000)
    data = _ranked(body["query"], documents)
    return Reply({"object": "list", "data": data, "model": MODEL, "usage": {"total_tokens": count(*documents)}}, {})


def tei_embed(body: dict[str, Any]) -> Reply:
    optional = {"truncate", "truncation_direction", "normalize", "prompt_name", "dimensions"}
    _only(body, {"inputs"}, optional)
    texts = _texts(body["inputs"], None)
    _tei_batch(texts)
    if body.get("prompt_name") is not None:
        raise Refused(422, "`prompt_name` is set but the model has no prompts")
    _long(texts, cut=bool(body.get("truncate")))
    rows = [vector(text, body.get("dimensions", WIDTH)) for text in texts]
    if body.get("normalize") is False:
        rows = [row * np.float32(3) for row in rows]
    return Reply([row.tolist() for row in rows], _tei_headers(texts))


def tei_rerank(body: dict[str, Any]) -> Reply:
    _only(body, {"query", "texts"}, {"truncate", "truncation_direction", "raw_scores", "return_text"})
    texts = _texts(body["texts"], None)
    _tei_batch(texts)
    score_of = logit if body.get("raw_scores") else score
    ranks = [{"index": i, "score": score_of(body["query"], text)} for i, text in enumerate(texts)]
    return Reply(sorted(ranks, key=lambda rank: -rank["score"]), _tei_headers(texts))


#: Smaller than the default of --max-client-batch-size: an operator may set any.
TEI_BATCH = 20


def _tei_batch(texts: list[str]) -> None:
    if len(texts) > TEI_BATCH:
        raise Refused(422, f"batch size {len(texts)} > maximum allowed batch size {TEI_BATCH}")


def _tei_headers(texts: list[str]) -> dict[str, str]:
    return {"x-compute-type": "cpu", "x-compute-tokens": str(count(*texts)), "x-total-time": "1"}


_SEKISHO_KINDS = {None, "query", "document", "classification", "clustering", "sts"}


def sekisho_embed(body: dict[str, Any]) -> Reply:
    """As docs/errors.md and the README of this very project have it; what it does not know it ignores."""
    _model(body)
    texts = _texts(body["input"], None, empty=True)
    if body.get("input_type") not in _SEKISHO_KINDS:
        raise Refused(400, f"`input_type` {body['input_type']!r} is not known")
    _long(texts, cut=body.get("truncate") != "NONE")
    as_base64 = body.get("encoding_format") == "base64"
    data = _data(texts, body.get("dimensions", WIDTH), body.get("input_type"), as_base64=as_base64)
    usage = {"prompt_tokens": count(*texts), "total_tokens": count(*texts)}
    cut = sum(len(text) > 8192 for text in texts)
    headers = {"x-sekisho-truncated": str(cut)} if cut else {}
    return Reply({"object": "list", "data": data, "model": MODEL, "usage": usage}, headers)


def sekisho_rerank(body: dict[str, Any]) -> Reply:
    """Both `results` and `data`."""
    _model(body)
    documents = _texts(body["documents"], None, empty=True)
    results = _ranked(body["query"], documents)
    usage = {"prompt_tokens": count(*documents), "total_tokens": count(*documents)}
    return Reply({"object": "rerank", "model": MODEL, "results": results, "data": results, "usage": usage}, {})


def _sekisho_error(message: str, status: int) -> Any:
    detail = {"message": message, "type": "invalid_request_error", "param": "input", "code": "invalid_request"}
    return {"error": detail, "message": message, "detail": message}


def _openai_error(message: str, status: int) -> Any:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def _message_error(message: str, status: int) -> Any:
    return {"message": message}


def _detail_error(message: str, status: int) -> Any:
    return {"detail": message}


def _tei_error(message: str, status: int) -> Any:
    return {"error": message, "error_type": "Overloaded" if status == 429 else "Validation"}


def _fastapi_error(message: str, status: int) -> Any:
    return {"detail": [{"loc": ["body", "input"], "msg": message, "type": "value_error"}]}


@dataclass(frozen=True)
class Wire:
    """One service: its routes, and the shape of its errors."""

    routes: dict[str, Callable[[dict[str, Any]], Reply]]
    error: Callable[[str, int], Any]


WIRES = {
    "openai": Wire({"/v1/embeddings": openai_embed, "/v1/rerank": jina_rerank}, _openai_error),
    "cohere": Wire({"/v2/embed": cohere_embed, "/v2/rerank": cohere_rerank}, _message_error),
    "jina": Wire({"/v1/embeddings": jina_embed, "/v1/rerank": jina_rerank}, _fastapi_error),
    "voyage": Wire({"/v1/embeddings": voyage_embed, "/v1/rerank": voyage_rerank}, _detail_error),
    "tei": Wire({"/embed": tei_embed, "/rerank": tei_rerank}, _tei_error),
    "vllm": Wire({"/v1/embeddings": vllm_embed, "/v1/rerank": vllm_rerank}, _openai_error),
    "sekisho": Wire({"/v1/embeddings": sekisho_embed, "/v1/rerank": sekisho_rerank}, _sekisho_error),
}
