"""The cohere package, versions 5 and 7: Client and ClientV2, and voyageai, whose vectors come in the same types."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from sekisho.contract import Rows
from tests.clients.conftest import ReportFor
from tests.clients.rows import BEST, BY_VECTORS, DIMENSIONS, KEY, PROMPTS, RANKED, RETURNED, TYPES, VECTORS, checks
from tests.clients.servers import DOCUMENT_PROMPT, QUERY_PROMPT, Servers
from tests.clients.values import (
    FEW,
    TEXTS,
    assert_prefixed,
    assert_ranked,
    assert_ranked_by_vectors,
    assert_same,
    golden_tokens,
    golden_vectors,
    unit,
    value_of,
    vectors_of,
)

FIRST = ("cohere7-Client.embed", "cohere5-Client.embed")
SECOND = ("cohere7-ClientV2.embed", "cohere5-ClientV2.embed")
FIRST_RANK = ("cohere7-Client.rerank", "cohere5-Client.rerank")
SECOND_RANK = ("cohere7-ClientV2.rerank", "cohere5-ClientV2.rerank")
VOYAGE, VOYAGE_RANK = "voyage-embed", "voyage-rerank"

#: The value that the last of 127 codes stands for, in vectors of this width.
_RANGE = 8 / np.sqrt(384)


def version(client: str) -> str:
    return "v2" if "V2" in client else "v1"


@checks(VECTORS, *FIRST, *SECOND, VOYAGE)
def test_vectors(client: str, report_for: ReportFor) -> None:
    step = "texts" if client == VOYAGE else f"{version(client)} floats"
    value = value_of(report_for(client), step)
    assert_same(vectors_of(value), golden_vectors(TEXTS))
    if client == VOYAGE:
        assert value["tokens"] == golden_tokens(TEXTS)


@checks(PROMPTS, *FIRST, *SECOND, VOYAGE)
@pytest.mark.parametrize(("kind", "prompt"), [("query", QUERY_PROMPT), ("document", DOCUMENT_PROMPT)])
def test_prompts(client: str, report_for: ReportFor, servers: Servers, kind: str, prompt: str) -> None:
    step = kind if client == VOYAGE else f"{version(client)} {kind}"
    assert_prefixed(value_of(report_for(client), step), servers.open, prompt)


@checks(DIMENSIONS, *SECOND, VOYAGE)
def test_dimensions(client: str, report_for: ReportFor) -> None:
    step = "dimensions" if client == VOYAGE else "v2 dimensions"
    assert_same(vectors_of(value_of(report_for(client), step)), unit(golden_vectors(FEW)[:, :128]))


@checks(TYPES, *FIRST, *SECOND, VOYAGE)
def test_types(client: str, report_for: ReportFor) -> None:
    """int8, uint8, binary and ubinary are the goldens in fewer bits."""
    value = value_of(report_for(client), "types" if client == VOYAGE else f"{version(client)} types")
    vectors = golden_vectors(FEW)
    assert_bytes(value, vectors)
    assert_bits(value, vectors)
    if client != VOYAGE:
        assert_same(vectors_of(value), vectors)


def assert_bytes(value: dict[str, Any], vectors: Rows) -> None:
    """The nearest code, give or take one, and unsigned is signed plus 128."""
    signed, unsigned = np.array(value["int8"]), np.array(value["uint8"])
    assert signed.shape == unsigned.shape == vectors.shape
    assert np.array_equal(unsigned, signed + 128)
    assert -128 <= signed.min() < 0 < signed.max() <= 127
    assert np.abs(signed * _RANGE / 127 - vectors).max() < 1.5 * _RANGE / 127


def assert_bits(value: dict[str, Any], vectors: Rows) -> None:
    """A bit for each number above zero, the first in the highest bit; signed is unsigned less 128."""
    signed, unsigned = np.array(value["binary"]), np.array(value["ubinary"])
    assert np.array_equal(unsigned, signed + 128)
    bits = np.unpackbits(unsigned.astype(np.uint8), axis=1)
    assert bits.shape == vectors.shape
    sure = np.abs(vectors) > 1e-3
    assert np.array_equal(bits[sure], (vectors > 0)[sure])


@checks("base64", *SECOND)
def test_base64(client: str, report_for: ReportFor) -> None:
    found = value_of(report_for(client), "v2 base64")
    vectors = np.stack([np.frombuffer(base64.b64decode(one), "<f4") for one in found])
    assert_same(vectors, golden_vectors(FEW))


@checks("inputs of contents", *SECOND)
def test_inputs(client: str, report_for: ReportFor) -> None:
    assert_same(vectors_of(value_of(report_for(client), "v2 inputs")), golden_vectors(FEW))


@checks(RANKED, *FIRST_RANK, *SECOND_RANK, VOYAGE_RANK)
def test_rerank(client: str, report_for: ReportFor) -> None:
    if client == VOYAGE_RANK:
        value = value_of(report_for(client), "rerank")
        assert_ranked(value, texts=True)
        assert value["tokens"] > 0
    else:
        assert_ranked(value_of(report_for(client), f"{version(client)} rerank"))


@checks(BEST, *FIRST_RANK, *SECOND_RANK, VOYAGE_RANK)
def test_best(client: str, report_for: ReportFor) -> None:
    assert_ranked(value_of(report_for(client), "top" if client == VOYAGE_RANK else f"{version(client)} top"), 3)


@checks(RETURNED, *FIRST_RANK)
def test_documents_are_returned(client: str, report_for: ReportFor) -> None:
    assert_ranked(value_of(report_for(client), "v1 returned"), 4, texts=True)


@checks(BY_VECTORS, *SECOND_RANK)
def test_rerank_by_vectors(client: str, report_for: ReportFor) -> None:
    assert_ranked_by_vectors(value_of(report_for(client), "v2 by vectors"))


@checks(KEY, *FIRST_RANK, *SECOND_RANK, VOYAGE, VOYAGE_RANK)
def test_keys(client: str, report_for: ReportFor) -> None:
    if client == VOYAGE:
        assert_same(vectors_of(value_of(report_for(client), "keyed")), golden_vectors(FEW))
    else:
        assert_ranked(
            value_of(report_for(client), "keyed rerank" if client == VOYAGE_RANK else f"{version(client)} keyed")
        )
