"""Rerankers behind a live server, and what every answer of theirs has to be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tests.checkpoints import TINY_BERTS, write_tiny_bert
from tests.checkpoints_encoders import tiny_encoder, write_tiny_encoder
from tests.goldens.rerank import RERANKERS, documents
from tests.http.live import Server, serving

DEFAULT = RERANKERS[0]
CLASSIFIER = "bert-reranker-old-names"
MEAN = TINY_BERTS[0].name
QUERY_PROMPT, DOCUMENT_PROMPT = "検索クエリ: ", "検索文書: "


def _registry() -> dict[str, Any]:
    own = {"kind": "reranker", "source": {"path": DEFAULT.name}, "max_tokens": DEFAULT.limit}
    prompts = {"query": QUERY_PROMPT, "document": DOCUMENT_PROMPT}
    vectors = {"source": {"path": MEAN}}
    return {
        "version": 1,
        "defaults": {"reranker": DEFAULT.name, "embedding": "vectors"},
        "models": [
            *(own | {"name": one.name, "source": {"path": one.name}, "max_tokens": one.limit} for one in RERANKERS),
            own | {"name": "logits", "activation": "none"},
            own | {"name": "strict", "truncate": False},
            own | {"name": "classifier", "source": {"path": CLASSIFIER}, "max_tokens": 90},
            vectors | {"name": "vectors"},
            vectors | {"name": "prompted", "prompts": prompts},
            vectors | {"name": "told", "prompts": {"query": "Instruct: {task} Query: ", "task": "search"}},
        ],
    }


@contextmanager
def reranking(directory: Path) -> Iterator[Server]:
    """A server with these models in `directory`."""
    for spec in (*RERANKERS, tiny_encoder(CLASSIFIER)):
        write_tiny_encoder(spec, directory / spec.name)
    write_tiny_bert(TINY_BERTS[0], directory / MEAN)
    path = directory / "models.yaml"
    path.write_text(json.dumps(_registry()), "utf-8")
    (directory / "home").mkdir()
    with serving(directory / "home", path, engine="onnxruntime") as server:
        yield server


def documents_of(server_directory: Path, name: str) -> list[str]:
    """The documents of a reranker's golden."""
    tokenizer = Tokenizer.from_file(str(server_directory / name / "tokenizer.json"))
    return documents(tiny_encoder(name), tokenizer)


def results(response: httpx.Response) -> list[dict[str, Any]]:
    """Check the object that answers `documents` whole; its results."""
    assert response.status_code == 200, response.text[:500]
    assert response.headers["content-type"] == "application/json"
    for stage in ("queue", "tokenize", "inference", "total"):
        assert float(response.headers[f"x-{stage}-ms"]) >= 0
    body = response.json()
    assert set(body) == {"id", "object", "created", "model", "query", "results", "data", "usage", "meta"}
    assert body["id"].startswith("rr-")
    assert body["object"] == "rerank"
    tokens = body["usage"]["prompt_tokens"]
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert tokens > 0
    assert body["meta"]["tokens"] == {"input_tokens": tokens, "output_tokens": 0}
    assert body["meta"]["api_version"] == {"version": "2"}
    listed: list[dict[str, Any]] = body["results"]
    scores = [one["relevance_score"] for one in listed]
    assert scores == sorted(scores, reverse=True)
    for one, other in zip(listed, body["data"], strict=True):
        assert other["index"] == one["index"]
        assert other["score"] == other["relevance_score"] == one["relevance_score"]
        assert ("document" in one) == ("document" in other)
        assert None not in one.values()
    return listed


def scores(response: httpx.Response) -> NDArray[np.float64]:
    """The scores in the order of the documents, every one there."""
    listed = results(response)
    assert sorted(one["index"] for one in listed) == list(range(len(listed)))
    return np.array([one["relevance_score"] for one in sorted(listed, key=lambda one: int(one["index"]))])
