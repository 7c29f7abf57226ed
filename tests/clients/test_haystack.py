"""Haystack: its embedders, of texts and of documents, and its rankers."""

from __future__ import annotations

import numpy as np

from tests.clients.conftest import ReportFor
from tests.clients.rows import BEST, DIMENSIONS, KEY, PROMPTS, RANKED, VECTORS, check, checks
from tests.clients.servers import DOCUMENT_PROMPT, MODEL, QUERY_PROMPT, RERANKER, Servers
from tests.clients.values import (
    FEW,
    SAME,
    TEXTS,
    assert_prefixed,
    assert_ranked,
    assert_same,
    golden_tokens,
    golden_vectors,
    unit,
    value_of,
    vectors_of,
)
from tests.goldens_io import cosines

EMBEDDERS = {
    "haystack-openai": "OpenAI",
    "haystack-jina": "Jina",
    "haystack-cohere": "Cohere",
    "haystack-hub": "HuggingFaceAPI",
}
RANKERS = {
    "haystack-jina-ranker": "JinaRanker",
    "haystack-cohere-ranker": "CohereRanker",
    "haystack-hub-ranker": "HuggingFaceTEIRanker",
}


@checks(VECTORS, *EMBEDDERS)
def test_vectors(client: str, report_for: ReportFor) -> None:
    documents, queries = (
        value_of(report_for(client), f"{EMBEDDERS[client]}: {one}") for one in ("documents", "queries")
    )
    assert_same(vectors_of(documents), golden_vectors(TEXTS))
    assert_same(vectors_of(queries), golden_vectors(FEW))


@checks("the model and its tokens are told", "haystack-openai", "haystack-jina")
def test_usage(client: str, report_for: ReportFor) -> None:
    tokens = golden_tokens(TEXTS)
    meta = value_of(report_for(client), f"{EMBEDDERS[client]}: documents")["meta"]
    assert meta["model"] == MODEL
    assert (meta["usage"]["prompt_tokens"], meta["usage"]["total_tokens"]) == (tokens, tokens)


@check("vectors as they leave the model, which it asks for unless told otherwise", "haystack-hub")
def test_normalize_false(report_for: ReportFor) -> None:
    raw = vectors_of(value_of(report_for("haystack-hub"), "HuggingFaceAPI: as it comes"))
    assert cosines(raw, golden_vectors(FEW)).min() >= SAME
    assert np.abs(np.linalg.norm(raw, axis=1) - 1).min() > 0.1


@checks(PROMPTS, "haystack-cohere", "haystack-jina")
def test_prompts(client: str, report_for: ReportFor, servers: Servers) -> None:
    """Cohere's embedders send `input_type`, Jina's the `task` they are given."""
    name = EMBEDDERS[client]
    assert_prefixed(value_of(report_for(client), f"{name}: query"), servers.open, QUERY_PROMPT)
    if name == "Cohere":
        assert_prefixed(value_of(report_for(client), f"{name}: document"), servers.open, DOCUMENT_PROMPT)


@checks(DIMENSIONS, "haystack-openai", "haystack-jina")
def test_dimensions(client: str, report_for: ReportFor) -> None:
    value = value_of(report_for(client), f"{EMBEDDERS[client]}: dimensions")
    assert_same(vectors_of(value), unit(golden_vectors(FEW)[:, :128]))


@checks(RANKED, *RANKERS)
def test_rerank(client: str, report_for: ReportFor) -> None:
    found = value_of(report_for(client), f"{RANKERS[client]}: all")
    assert_ranked(found, texts=True)
    if client == "haystack-jina-ranker":
        assert found["meta"]["model"] == RERANKER
        assert found["meta"]["usage"]["total_tokens"] > 0


@checks(BEST, *RANKERS)
def test_best(client: str, report_for: ReportFor) -> None:
    assert_ranked(value_of(report_for(client), f"{RANKERS[client]}: top"), 3, texts=True)


@checks(KEY, *EMBEDDERS, *RANKERS)
def test_keys(client: str, report_for: ReportFor) -> None:
    if client in RANKERS:
        assert_ranked(value_of(report_for(client), f"{RANKERS[client]}: keyed"))
    else:
        assert_same(vectors_of(value_of(report_for(client), f"{EMBEDDERS[client]}: keyed")), golden_vectors(FEW))
