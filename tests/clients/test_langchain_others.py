"""LangChain's classes for Cohere, Jina, Infinity and Hugging Face."""

from __future__ import annotations

from tests.clients.conftest import ReportFor
from tests.clients.rows import BEST, KEY, PROMPTS, RANKED, VECTORS, check, checks
from tests.clients.servers import DOCUMENT_PROMPT, QUERY_PROMPT, Servers
from tests.clients.values import (
    FEW,
    TEXTS,
    assert_prefixed,
    assert_ranked,
    assert_same,
    golden_vectors,
    value_of,
    vectors_of,
)

COHERE, INFINITY, ENDPOINT = "langchain-cohere-embeddings", "langchain-infinity-embeddings", "langchain-endpoint"
EMBEDDINGS = {COHERE: ("documents", "queries"), INFINITY: ("infinity", "infinity queries")}
EMBEDDINGS[ENDPOINT] = ("endpoint", "endpoint queries")
RERANKERS = {
    "langchain-cohere-rerank": "cohere rerank",
    "langchain-jina-rerank": "jina rerank",
    "langchain-infinity-rerank": "infinity rerank",
}


@checks(VECTORS, *EMBEDDINGS)
def test_vectors(client: str, report_for: ReportFor) -> None:
    documents, queries = (value_of(report_for(client), step) for step in EMBEDDINGS[client])
    assert_same(vectors_of(documents), golden_vectors(TEXTS))
    assert_same(vectors_of(queries), golden_vectors(FEW))


@check(PROMPTS, COHERE)
def test_cohere_prompts(report_for: ReportFor, servers: Servers) -> None:
    """embed_documents and embed_query say which is which."""
    assert_prefixed(value_of(report_for(COHERE), "prompted documents"), servers.open, DOCUMENT_PROMPT)
    assert_prefixed(value_of(report_for(COHERE), "prompted queries"), servers.open, QUERY_PROMPT)


@check(PROMPTS, ENDPOINT)
def test_endpoint_prompts(report_for: ReportFor, servers: Servers) -> None:
    """Through `prompt_name`, to a model named in the address."""
    assert_prefixed(value_of(report_for(ENDPOINT), "endpoint by name"), servers.open, QUERY_PROMPT)


@checks(KEY, COHERE, ENDPOINT)
def test_keys(client: str, report_for: ReportFor) -> None:
    step = {COHERE: "keyed embeddings", ENDPOINT: "keyed endpoint"}[client]
    assert_same(vectors_of(value_of(report_for(client), step)), golden_vectors(FEW))


@checks(RANKED, *RERANKERS)
def test_rerank(client: str, report_for: ReportFor) -> None:
    assert_ranked(value_of(report_for(client), RERANKERS[client]))


@checks(BEST, *RERANKERS)
def test_three_best(client: str, report_for: ReportFor) -> None:
    """compress_documents, as a retriever calls it: three by default, the documents themselves."""
    assert_ranked(value_of(report_for(client), f"{RERANKERS[client]} compressed"), 3, texts=True)


@checks(KEY, *RERANKERS)
def test_reranker_keys(client: str, report_for: ReportFor) -> None:
    assert_ranked(value_of(report_for(client), f"keyed {RERANKERS[client]}"))
