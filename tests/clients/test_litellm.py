"""litellm: as a library, by every provider that can be pointed elsewhere, and its proxy in front of us."""

from __future__ import annotations

import numpy as np
import pytest

from tests.clients.conftest import ReportFor
from tests.clients.proxy import MASTER_KEY
from tests.clients.rows import BEST, DIMENSIONS, KEY, RANKED, RETURNED, TOKEN_IDS, VECTORS, check
from tests.clients.values import (
    FEW,
    TEXTS,
    assert_ranked,
    assert_same,
    golden_tokens,
    golden_vectors,
    unit,
    value_of,
    vectors_of,
)
from tests.conftest import REPOSITORY

LIBRARY, PROXY = "litellm", "litellm-proxy"
EMBEDDING = (
    "openai", "hosted_vllm", "infinity", "voyage", "xinference", "openai_like", "lm_studio", "litellm_proxy",
    "jina_ai", "cohere", "huggingface",
)  # fmt: skip
RERANK = ("hosted_vllm", "infinity", "jina_ai", "cohere", "litellm_proxy", "voyage", "huggingface")

# The library has one program; the column of any of its providers names it.
SOURCE = "litellm-embedding-openai/"


@pytest.mark.parametrize("provider", EMBEDDING)
@check(VECTORS, LIBRARY)
def test_embedding(provider: str, report_for: ReportFor) -> None:
    value = value_of(report_for(SOURCE), f"{provider} embedding")
    assert_same(vectors_of(value), golden_vectors(FEW))
    assert value["indices"] == list(range(len(FEW)))


@pytest.mark.parametrize("provider", RERANK)
@check(RANKED, LIBRARY)
def test_rerank(provider: str, report_for: ReportFor) -> None:
    """litellm asks for the documents unless told otherwise."""
    assert_ranked(value_of(report_for(SOURCE), f"{provider} rerank"), texts=True)


@pytest.mark.parametrize("provider", RERANK)
@check(BEST, LIBRARY)
def test_best(provider: str, report_for: ReportFor) -> None:
    assert_ranked(value_of(report_for(SOURCE), f"{provider} top"), 3, texts=True)


@check(DIMENSIONS, LIBRARY)
def test_dimensions(report_for: ReportFor) -> None:
    assert_same(vectors_of(value_of(report_for(SOURCE), "dimensions")), unit(golden_vectors(FEW)[:, :128]))


@pytest.mark.parametrize("provider", EMBEDDING)
@check(KEY, LIBRARY)
def test_embedding_with_a_key(provider: str, report_for: ReportFor) -> None:
    assert_same(vectors_of(value_of(report_for(SOURCE), f"{provider} keyed embedding")), golden_vectors(FEW))


@pytest.mark.parametrize("provider", RERANK)
@check(KEY, LIBRARY)
def test_rerank_with_a_key(provider: str, report_for: ReportFor) -> None:
    assert_ranked(value_of(report_for(SOURCE), f"{provider} keyed rerank"))


@pytest.mark.parametrize("step", ["texts", "float", "by vllm"])
@check(VECTORS, PROXY)
def test_proxy(step: str, report_for: ReportFor) -> None:
    """The openai package through it, base64 and floats."""
    value = value_of(report_for(PROXY), step)
    assert_same(vectors_of(value), golden_vectors(TEXTS))
    assert value["indices"] == list(range(len(TEXTS)))
    assert value["tokens"] == golden_tokens(TEXTS)


@check("a string", PROXY)
def test_proxy_string(report_for: ReportFor) -> None:
    assert_same(vectors_of(value_of(report_for(PROXY), "string")), golden_vectors(FEW[:1]))


@pytest.mark.parametrize("step", ["nested token ids", "nested token ids by vllm", "flat token ids"])
@check(TOKEN_IDS, PROXY)
def test_proxy_token_ids(step: str, report_for: ReportFor) -> None:
    rows = FEW[:1] if step == "flat token ids" else FEW[:2]
    assert_same(vectors_of(value_of(report_for(PROXY), step)), golden_vectors(rows))


@pytest.mark.parametrize("step", ["rerank by vllm", "rerank by cohere", "rerank by jina"])
@check(RANKED, PROXY)
def test_proxy_rerank(step: str, report_for: ReportFor) -> None:
    assert_ranked(value_of(report_for(PROXY), step))


@check(BEST, PROXY)
def test_proxy_best(report_for: ReportFor) -> None:
    assert_ranked(value_of(report_for(PROXY), "rerank on /v2"), 3)


@check(RETURNED, PROXY)
def test_proxy_documents(report_for: ReportFor) -> None:
    assert_ranked(value_of(report_for(PROXY), "rerank returned"), texts=True)


@check(KEY, PROXY)
def test_proxy_key(report_for: ReportFor) -> None:
    assert_same(vectors_of(value_of(report_for(PROXY), "keyed")), golden_vectors(FEW))


def test_the_program_knows_the_proxys_key() -> None:
    program = REPOSITORY / "tests" / "clients" / "programs" / "litellm_proxy.py"
    assert MASTER_KEY in program.read_text("utf-8")


def test_the_goldens_of_token_ids_differ() -> None:
    """Otherwise a proxy that sends the first text twice would pass."""
    assert np.dot(*golden_vectors(FEW[:2])) < 0.9
