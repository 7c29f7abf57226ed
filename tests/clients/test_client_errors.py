"""What a person sees of each client when something is wrong: it must say what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from tests.clients.columns import COLUMNS, with_errors
from tests.clients.conftest import ReportFor
from tests.clients.matrix import Matrix
from tests.clients.rows import ERRORS, HIDDEN_ERRORS, check
from tests.clients.values import value_of

#: What the server says of each, with what to do about it: one of these is in the text.
SAID = {
    "unknown model": ("The model 'no-such-model' does not exist. Models here: all-minilm-l6-v2",),
    "empty input": ("is an empty list: send at least one",),
    "too long": ("the model reads 256: shorten it", "the model reads 128: shorten them"),
    "missing key": ("check the key your client sends", "send it as `Authorization: Bearer <key>`"),
    "overload": ("send the request again a little later",),
}
TITLES = {
    "unknown model": "a model's name misspelt",
    "empty input": "an empty list",
    "too long": "a text too long, not to be cut",
    "missing key": "no API key, or a wrong one",
    "overload": "the queue is full",
}


@dataclass(frozen=True)
class Own:
    """What a client does by itself, whatever the server says. kind: its exception, None for none; says: its text."""

    kind: str | None
    says: str = ""


NOTHING_ASKED = Own(None)
#: These return an empty result for an empty list without asking the server.
NOT_ASKING = (
    "langchain", "langchain-cohere-rerank", "langchain-jina-rerank", "langchain-infinity-embeddings",
    "langchain-infinity-rerank", "langchain-node",
    "llamaindex-openai", "llamaindex-openai-like", "llamaindex-tei", "llamaindex-jina-rerank",
    "llamaindex-cohere-rerank", "llamaindex-tei-rerank",
    "haystack-openai", "haystack-jina", "haystack-cohere", "haystack-hub", "haystack-jina-ranker",
    "haystack-hub-ranker",
)  # fmt: skip
#: These do not look at the answer's status, and fail over its body instead.
BLIND = {
    "llamaindex-tei": Own("ValidationError", "Input should be a valid list"),
    "llamaindex-tei-rerank": Own("AssertionError"),
}
OWN = {
    **{(column, "empty input"): NOTHING_ASKED for column in NOT_ASKING},
    **{
        (column, error): own
        for column, own in BLIND.items()
        for error in ("unknown model", "too long", "missing key", "overload")
    },
    # The package joins the answers to its batches, and there is none.
    ("cohere7-Client.embed", "empty input"): Own("ValueError", "no texts were provided to embed"),
    ("cohere5-Client.embed", "empty input"): Own("IndexError", "list index out of range"),
    ("langchain-cohere-embeddings", "empty input"): Own("IndexError", "list index out of range"),
    ("litellm-embedding-cohere/", "empty input"): Own("APIConnectionError", "list index out of range"),
}
#: The address has no place for a model: what concerns one cannot happen.
NOT_POSSIBLE = {("haystack-hub-ranker", error) for error in ("unknown model", "too long", "overload")}


def _cell(column: str) -> pytest.MarkDecorator:
    return check(HIDDEN_ERRORS if column in BLIND else ERRORS, COLUMNS[column].part_of or column)


@pytest.mark.parametrize(
    ("column", "error"),
    [
        pytest.param(column, error, marks=_cell(column))
        for column in with_errors()
        for error in SAID
        if (column, error) not in NOT_POSSIBLE
    ],
)
def test_errors(column: str, error: str, report_for: ReportFor, matrix: Matrix) -> None:
    seen = value_of(report_for(column), f"{COLUMNS[column].prefix}: error: {error}")
    kind, text = seen["type"], seen["text"]
    own = OWN.get((column, error))
    matrix.note_text(TITLES[error], column, kind or "", text if kind else "an empty result, the server is not asked")
    if own is not None:
        assert kind == own.kind
        assert own.says in text
    else:
        assert kind is not None, f"nothing was raised: {text}"
        assert any(part in _plain(text) for part in SAID[error]), text
        assert not re.search(r"/(usr|home|root|work|tmp|opt)/", text), "a path"


def test_what_clients_do_by_themselves_is_of_clients_there_are() -> None:
    assert {column for column, _ in (*OWN, *NOT_POSSIBLE)} <= set(with_errors())


def _plain(text: str) -> str:
    """Without the backslashes of texts within texts."""
    return text.replace("\\", "")
