"""On Node: the openai package, and LangChain.js."""

from __future__ import annotations

import numpy as np

from tests.clients.conftest import ReportFor
from tests.clients.rows import DIMENSIONS, KEY, PROMPTS, TOKEN_IDS, VECTORS, check, checks
from tests.clients.servers import QUERY_PROMPT, Servers, answer_of
from tests.clients.values import (
    FEW,
    TEXTS,
    assert_prefixed,
    assert_same,
    golden_tokens,
    golden_vectors,
    unit,
    value_of,
    vectors_of,
)

OPENAI, LANGCHAIN = "openai-node", "langchain-node"


@check(VECTORS, OPENAI)
def test_openai(report_for: ReportFor) -> None:
    """The package asks for base64; with `float` it gets the same numbers."""
    for step in ("texts", "float"):
        value = value_of(report_for(OPENAI), step)
        assert_same(vectors_of(value), golden_vectors(TEXTS))
        assert value["indices"] == list(range(len(TEXTS)))
        assert value["tokens"] == golden_tokens(TEXTS)
    as_base64, as_float = (vectors_of(value_of(report_for(OPENAI), step)) for step in ("texts", "float"))
    assert np.array_equal(as_base64.view(np.uint32), as_float.view(np.uint32))


@check("a string", OPENAI)
def test_string(report_for: ReportFor) -> None:
    assert_same(vectors_of(value_of(report_for(OPENAI), "string")), golden_vectors(FEW[:1]))


@check(TOKEN_IDS, OPENAI)
def test_token_ids(report_for: ReportFor) -> None:
    assert_same(vectors_of(value_of(report_for(OPENAI), "nested token ids")), golden_vectors(FEW[:2]))


@check(PROMPTS, OPENAI)
def test_prompts(report_for: ReportFor, servers: Servers) -> None:
    """Parameters that OpenAI does not have stand beside those it has."""
    assert_prefixed(value_of(report_for(OPENAI), "query"), servers.open, QUERY_PROMPT)


@check("models.list", OPENAI)
def test_models(report_for: ReportFor, servers: Servers) -> None:
    with_plain = answer_of(servers.open, "/v1/models")
    assert value_of(report_for(OPENAI), "models") == [model["id"] for model in with_plain["data"]]


@check(VECTORS, LANGCHAIN)
def test_langchain(report_for: ReportFor) -> None:
    for step, rows in (("documents", TEXTS), ("queries", FEW)):
        assert_same(vectors_of(value_of(report_for(LANGCHAIN), step)), golden_vectors(rows))


@checks(DIMENSIONS, OPENAI, LANGCHAIN)
def test_dimensions(client: str, report_for: ReportFor) -> None:
    step = "dimensions" if client == OPENAI else "langchain dimensions"
    assert_same(vectors_of(value_of(report_for(client), step)), unit(golden_vectors(FEW)[:, :128]))


@checks(KEY, OPENAI, LANGCHAIN)
def test_keys(client: str, report_for: ReportFor) -> None:
    step = "keyed" if client == OPENAI else "langchain keyed"
    assert_same(vectors_of(value_of(report_for(client), step)), golden_vectors(FEW))
