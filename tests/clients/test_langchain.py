"""LangChain's OpenAIEmbeddings as it comes, which sends cl100k ids, against the same texts sent as text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sekisho.contract import Rows
from tests.clients.conftest import ReportFor, RunProgram
from tests.clients.rows import KEY
from tests.clients.servers import MODEL, QUERY_PROMPT, Servers, answer_of
from tests.clients.values import FEW, assert_same, golden_vectors, rows_of, texts_at, unit, value_of, vectors_of
from tests.goldens_io import cosines, golden_texts

CLIENT = "langchain"
KINDS = ("published", "english-query", "japanese-query", "japanese-paragraph", "mixed-script", "emoji", "combining")
ROWS = [*rows_of(KINDS), golden_texts().index("")]

#: Each of two pieces by LangChain's measure, 8,191 tokens, and about two things. Where the last two are cut, a
#: character is.
LONG = [
    "The quick brown fox jumps over the lazy dog. " * 700 + "Stock markets fell sharply on Monday. " * 900,
    "吾輩は猫である。名前はまだ無い。" * 300 + "株式市場は月曜日に急落しました。" * 350,
    "🦊🗻🌸 a fox on a mountain " * 500 + "🍎🍞🧀🥖 bread and an apple " * 400,
]


def check(title: str) -> pytest.MarkDecorator:
    return pytest.mark.check(title, client=CLIENT)


@pytest.fixture(scope="session")
def report(report_of: RunProgram) -> dict[str, Any]:
    return report_of(CLIENT, "langchain_vectors.py", {"texts": texts_at(ROWS), "long": LONG})


@check("OpenAIEmbeddings() as it comes: embed_documents, embed_query")
def test_defaults(report: dict[str, Any]) -> None:
    value = value_of(report, "documents")
    assert value["sent"] == ["lists of token ids", "a string"]  # the string is the empty text
    assert_same(vectors_of(value), golden_vectors(ROWS))
    assert_same(vectors_of(value_of(report, "queries")), golden_vectors(ROWS))


@check("the same vectors as with check_embedding_ctx_length=False")
def test_equals_plain_texts(report: dict[str, Any]) -> None:
    value = value_of(report, "plain documents")
    assert value["sent"] == ["strings"]
    assert_same(vectors_of(value), golden_vectors(ROWS))
    for step in ("documents", "queries"):
        assert_same(vectors_of(value_of(report, step)), vectors_of(value_of(report, f"plain {step}")))


@check("a model by name")
def test_named_model(report: dict[str, Any]) -> None:
    value = value_of(report, "named")
    assert value["sent"][0] == "lists of token ids"
    assert_same(vectors_of(value), golden_vectors(ROWS))


@check("aembed_query, many at once")
def test_parallel(report: dict[str, Any]) -> None:
    assert_same(vectors_of(value_of(report, "parallel")), golden_vectors(ROWS))


@check("dimensions")
def test_dimensions(report: dict[str, Any]) -> None:
    assert_same(vectors_of(value_of(report, "dimensions")), unit(golden_vectors(ROWS)[:, :128]))


@check("input_type through extra_body")
def test_input_type(report: dict[str, Any], servers: Servers) -> None:
    prefixed = [QUERY_PROMPT + text for text in texts_at(ROWS)]
    plain = answer_of(servers.open, "/v1/embeddings", {"input": prefixed, "model": MODEL})
    reference = np.array([item["embedding"] for item in plain["data"]], np.float32)
    assert_same(vectors_of(value_of(report, "prompt")), reference)


@check("texts over 8,191 tokens: the average of the pieces, as LangChain documents it")
def test_long_texts(report: dict[str, Any]) -> None:
    pieces = value_of(report, "pieces")
    assert [len(piece["tokens"]) for piece in pieces] == [2, 2, 2]
    assert [piece["inside a character"] > 0 for piece in pieces] == [False, True, True]
    averaged = np.stack([_average(vectors_of(piece), piece["tokens"]) for piece in pieces])
    for step in ("long documents", "long queries"):
        assert_same(vectors_of(value_of(report, step)), averaged)


@check("errors: those of the openai package")
def test_errors(report: dict[str, Any]) -> None:
    assert "The model 'no-such-model' does not exist" in value_of(report, "unknown model")


@check(KEY)
def test_key(report_for: ReportFor) -> None:
    assert_same(vectors_of(value_of(report_for(CLIENT), "keyed")), golden_vectors(FEW))


def test_a_long_text_is_more_than_its_beginning(report: dict[str, Any]) -> None:
    """Otherwise the check above would hold for a client that sends the first piece only."""
    averaged = vectors_of(value_of(report, "long documents"))
    first = np.stack([vectors_of(piece)[0] for piece in value_of(report, "pieces")])
    assert cosines(averaged, first).max() < 0.99


def _average(vectors: Rows, tokens: list[int]) -> Rows:
    """Weighted by the tokens of each piece, at length one."""
    return unit(np.average(vectors, axis=0, weights=tokens).astype(np.float32))
