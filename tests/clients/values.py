"""What the programs are given, and how what they print is read."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np

from sekisho.contract import Rows
from tests.checkpoints import tiny_tokenizer
from tests.clients.servers import MODEL, answer_of
from tests.goldens import rerank
from tests.goldens.corpus import load_kinds
from tests.goldens_io import MINILM, cosines, golden_texts, load_golden

#: Cosine to the goldens below which a vector is another.
SAME = 0.9999

_SHORT = {"english-query", "english-sentence", "japanese-query", "mixed-script", "emoji", "short", "number"}


#: A cosine's distance from that of the goldens, which the engine's own precision (bfloat16 on some processors) allows.
CLOSE = 5e-3
#: A score's distance from transformers'; the reranker runs in fp32.
EQUAL = 1e-5
#: Documents of the rerank golden, in an order that is not theirs by score; no two scores are nearer than 0.016.
_RANKED = (3, 5, 7, 9, 10, 14, 16, 17, 19, 26, 30, 60)


def rows_of(kinds: Iterable[str]) -> list[int]:
    """Where texts of these kinds stand in the corpus."""
    wanted = set(kinds)
    return [row for row, kind in enumerate(load_kinds()) if kind in wanted]


def texts_at(rows: Iterable[int]) -> list[str]:
    texts = golden_texts()
    return [texts[row] for row in rows]


def thousand_rows() -> list[int]:
    """A thousand short texts: the same few in turn, so that a vector in the wrong place shows."""
    short = rows_of(_SHORT)
    return [short[number % len(short)] for number in range(1000)]


TEXTS = rows_of(["published", "english-query", "japanese-query", "mixed-script", "emoji"])
FEW = rows_of(["published", "japanese-query"])[:6]
#: A query and sentences, no two of them alike.
SENTENCES = rows_of(["published", "english-query"])[:8]
#: FEW's first two as tiktoken cuts them: cl100k_base.
TOKEN_IDS = [[791, 9282, 374, 17104, 3432, 13], [2181, 596, 779, 40798, 4994, 0]]


def ranked_documents() -> list[str]:
    """What is reranked against tests.goldens.rerank.QUERY."""
    spec = rerank.RERANKERS[0]
    texts = rerank.documents(spec, tiny_tokenizer(spec.config["vocab_size"], spec.marks))
    return [texts[row] for row in _RANKED]


def ranking() -> list[tuple[int, float]]:
    """Indices and scores, the best first, as transformers has them."""
    logits = rerank.load_golden(rerank.RERANKERS[0].name).logits[list(_RANKED)].astype(np.float64)
    return [(int(row), float(1 / (1 + np.exp(-logits[row])))) for row in np.argsort(-logits)]


def assert_ranked(value: Any, count: int = len(_RANKED), *, texts: bool | None = None) -> None:
    """The right indices in the right order with transformers' scores; `texts`: with their documents.

    `value`: pairs of index and score, or {"ranked": those, "texts": …}.
    """
    ranked = value["ranked"] if isinstance(value, dict) else value
    expected = ranking()[:count]
    assert [index for index, _ in ranked] == [index for index, _ in expected]
    np.testing.assert_allclose([score for _, score in ranked], [score for _, score in expected], atol=EQUAL, rtol=0)
    if texts is not None:
        documents = ranked_documents()
        assert value["texts"] == ([documents[index] for index, _ in expected] if texts else [])


def assert_ranked_by_vectors(ranked: list[list[float]]) -> None:
    """SENTENCES by the cosine of the goldens to that of the first."""
    vectors = golden_vectors(SENTENCES).astype(np.float64)
    expected = vectors[1:] @ vectors[0]
    assert [index for index, _ in ranked] == np.argsort(-expected).tolist()
    np.testing.assert_allclose([score for _, score in ranked], np.sort(expected)[::-1], atol=CLOSE, rtol=0)


def assert_prefixed(value: dict[str, Any], url: str, prompt: str) -> None:
    """The vectors of FEW are those that plain requests get for the texts with the prompt before them."""
    body = {"input": [prompt + text for text in texts_at(FEW)], "model": MODEL}
    plain = answer_of(url, "/v1/embeddings", body)
    assert_same(vectors_of(value), np.array([item["embedding"] for item in plain["data"]], np.float32))


def value_of(report: dict[str, Any], step: str) -> Any:
    """What a step of a program gave; fails with its traceback where it raised."""
    result = report[step]
    assert "raised" not in result, result["raised"]
    return result["value"]


def vectors_of(value: dict[str, Any]) -> Rows:
    """The vectors a program packed, bit for bit."""
    packed = value["vectors"]
    flat: Rows = np.frombuffer(base64.b64decode(packed["float32"]), "<f4").astype(np.float32)
    return flat.reshape(packed["rows"], -1)


def assert_same(vectors: Rows, reference: Rows) -> None:
    """Row by row the same vectors, of length one."""
    assert vectors.shape == reference.shape
    assert cosines(vectors, reference).min() >= SAME
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-5)


def golden_vectors(rows: Iterable[int]) -> Rows:
    return load_golden(MINILM).vectors[list(rows)]


def golden_tokens(rows: Iterable[int]) -> int:
    """How many tokens the model sees of these texts."""
    ids = load_golden(MINILM).ids
    return sum(len(ids[row]) for row in rows)


def unit(vectors: Rows) -> Rows:
    """The same directions at length one."""
    same: Rows = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return same
