"""LlamaIndex: its embeddings and its rerankers."""

from __future__ import annotations

from tests.clients.conftest import ReportFor
from tests.clients.rows import BEST, DIMENSIONS, KEY, PROMPTS, RANKED, VECTORS, checks
from tests.clients.servers import QUERY_PROMPT, Servers
from tests.clients.values import (
    FEW,
    TEXTS,
    assert_prefixed,
    assert_ranked,
    assert_same,
    golden_vectors,
    unit,
    value_of,
    vectors_of,
)

EMBEDDINGS = {
    "llamaindex-openai": "OpenAIEmbedding",
    "llamaindex-openai-like": "OpenAILikeEmbedding",
    "llamaindex-tei": "TextEmbeddingsInference",
}
#: Column → (class, how many it returns unless told otherwise).
RERANKERS = {
    "llamaindex-jina-rerank": ("JinaRerank", 2),
    "llamaindex-cohere-rerank": ("CohereRerank", 2),
    "llamaindex-tei-rerank": ("TextEmbeddingInference", 5),
}


@checks(VECTORS, *EMBEDDINGS)
def test_vectors(client: str, report_for: ReportFor) -> None:
    documents, queries = (
        value_of(report_for(client), f"{EMBEDDINGS[client]}: {one}") for one in ("documents", "queries")
    )
    assert_same(vectors_of(documents), golden_vectors(TEXTS))
    assert_same(vectors_of(queries), golden_vectors(FEW))


@checks(PROMPTS, *EMBEDDINGS)
def test_prompts(client: str, report_for: ReportFor, servers: Servers) -> None:
    """Through extra_body; TextEmbeddingsInference puts its own instruction before the text."""
    assert_prefixed(value_of(report_for(client), f"{EMBEDDINGS[client]}: query prompt"), servers.open, QUERY_PROMPT)


@checks(DIMENSIONS, "llamaindex-openai", "llamaindex-openai-like")
def test_dimensions(client: str, report_for: ReportFor) -> None:
    value = value_of(report_for(client), f"{EMBEDDINGS[client]}: dimensions")
    assert_same(vectors_of(value), unit(golden_vectors(FEW)[:, :128]))


@checks(RANKED, *RERANKERS)
def test_rerank(client: str, report_for: ReportFor) -> None:
    assert_ranked(value_of(report_for(client), f"{RERANKERS[client][0]}: all"), texts=True)


@checks(BEST, *RERANKERS)
def test_best(client: str, report_for: ReportFor) -> None:
    name, count = RERANKERS[client]
    assert_ranked(value_of(report_for(client), f"{name}: default"), count, texts=True)


@checks(KEY, *EMBEDDINGS, *RERANKERS)
def test_keys(client: str, report_for: ReportFor) -> None:
    if client in RERANKERS:
        assert_ranked(value_of(report_for(client), f"{RERANKERS[client][0]}: keyed"))
    else:
        assert_same(vectors_of(value_of(report_for(client), f"{EMBEDDINGS[client]}: keyed")), golden_vectors(FEW))
