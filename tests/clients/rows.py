"""The rows of the matrix that more than one client has: each title is written once."""

from __future__ import annotations

import pytest

VECTORS = "texts: the vectors equal the goldens"
PROMPTS = "queries and documents get the model's prompts"
DIMENSIONS = "dimensions"
KEY = "an API key"
RANKED = "rerank: order, indices and scores equal transformers'"
BEST = "rerank: the best few"
RETURNED = "rerank: documents come back with their scores"
BY_VECTORS = "rerank by an embedding model: the cosines of the goldens"
TYPES = "every embedding type"
TOKEN_IDS = "token ids (cl100k)"
ERRORS = "errors say what to do"
HIDDEN_ERRORS = "errors: an exception, without what the server said"


def check(title: str, column: str) -> pytest.MarkDecorator:
    """The cell that a test decides."""
    return pytest.mark.check(title, client=column)


def checks(title: str, *columns: str) -> pytest.MarkDecorator:
    """A test for each column, given to it as `client`, and the cell each decides."""
    return pytest.mark.parametrize("client", [pytest.param(one, marks=check(title, one)) for one in columns])
