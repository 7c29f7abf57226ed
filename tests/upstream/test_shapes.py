"""Answers that are almost right are none."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from sekisho.runtime.remote import DIALECTS
from sekisho.runtime.remote.dialect import Garbage
from sekisho.runtime.remote.endpoint import endpoint
from sekisho.runtime.remote.shapes import tokens

OPENAI = DIALECTS["openai"]
A, B = [1.0, 0.0], [0.0, 0.5]


def packed(*numbers: float) -> str:
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()


def item(index: Any, embedding: Any) -> dict[str, Any]:
    return {"index": index, "embedding": embedding}


@pytest.mark.parametrize(
    "data",
    [
        [item(0, A), item(1, B)],
        [item(1, B), item(0, A)],
        [item(1, packed(*B)), item(0, packed(*A))],
        [item(0, A), item(1, packed(*B))],
        [{"embedding": A}, {"embedding": B}],
        [item(0, [1, 0]), item(1, [0, 0.5])],
    ],
)
def test_vectors_of_either_form_in_either_order(data: Any) -> None:
    rows = OPENAI.embed.read({"data": data, "usage": {"prompt_tokens": 3}}, {}, 2)
    np.testing.assert_array_equal(rows.rows, np.array([A, B], np.float32))
    assert rows.rows.dtype == np.float32
    assert rows.tokens == 3


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "without 'data'"),
        ({"data": None}, "no list"),
        ({"data": []}, "with 0 'data' for 2"),
        ({"data": [item(0, A)]}, "with 1 'data' for 2"),
        ({"data": [item(0, A), item(0, B)]}, "indices"),
        ({"data": [item(0, A), item(2, B)]}, "indices"),
        ({"data": [item(1, A), item(2, B)]}, "indices"),
        ({"data": [item(0, A), {"embedding": B}]}, "indices"),
        ({"data": [item(False, A), item(True, B)]}, "indices"),
        ({"data": [item("0", A), item("1", B)]}, "indices"),
        ({"data": [item(0, A), item(1, [0.0])]}, "different widths"),
        ({"data": [item(0, []), item(1, [])]}, "or of none"),
        ({"data": [item(0, [A]), item(1, [B])]}, "different widths"),
        ({"data": [item(0, A), item(1, [0.0, None])]}, "finite"),
        ({"data": [item(0, A), item(1, packed(0, float("nan")))]}, "finite"),
        ({"data": [item(0, A), item(1, [1e39, 0])]}, "finite"),
        ({"data": [item(0, A), item(1, "not base64!")]}, "neither"),
        ({"data": [item(0, A), item(1, "AAA=")]}, "neither"),
        ({"data": [item(0, A), item(1, ["a", "b"])]}, "neither"),
        ({"data": [item(0, A), item(1, {"0": 1})]}, "neither"),
        ({"data": [item(0, A), {"index": 1}]}, "without 'embedding'"),
        ({"data": [item(0, A), 7]}, "indices"),
    ],
)
def test_what_is_no_answer_is_told_apart(values: Any, says: str) -> None:
    with pytest.raises(Garbage, match=says):
        OPENAI.embed.read(values, {}, 2)


@pytest.mark.parametrize("value", ["0.5", None, True, [0.5], float("inf"), 1e39])
def test_a_score_is_a_number(value: Any) -> None:
    with pytest.raises(Garbage):
        OPENAI.rerank.read({"results": [{"index": 0, "relevance_score": value}]}, {}, 1)


@pytest.mark.parametrize("kind", sorted(DIALECTS))
@pytest.mark.parametrize("values", [None, 7, "x", [], {}, [1], [[]], {"data": 1}, {"embeddings": []}, {"results": {}}])
def test_no_dialect_stumbles_over_an_odd_answer(kind: str, values: Any) -> None:
    for operation in (DIALECTS[kind].embed, DIALECTS[kind].rerank):
        with pytest.raises(Garbage) as caught:
            operation.read(values, {}, 1)
        json.dumps(str(caught.value))


def test_tokens_where_they_are_told() -> None:
    assert tokens({"usage": {"total_tokens": 5}}, "usage.prompt_tokens", "usage.total_tokens") == 5
    assert tokens({"usage": {"total_tokens": 5.0}}, "usage.total_tokens") == 5
    odds: list[Any] = [{}, {"usage": None}, {"usage": {"total_tokens": "5"}}, {"usage": {"total_tokens": -1}}, [], None]
    for odd in odds:
        assert tokens(odd, "usage.total_tokens") is None
    assert DIALECTS["tei"].embed.read([[1.0]], {"x-compute-tokens": "12"}, 1).tokens == 12
    assert DIALECTS["tei"].embed.read([[1.0]], {"x-compute-tokens": "many"}, 1).tokens is None


@pytest.mark.parametrize(
    ("base", "path", "expected"),
    [
        ("http://h:80", "v1/embeddings", "http://h:80/v1/embeddings"),
        ("http://h/", "v1/embeddings", "http://h/v1/embeddings"),
        ("http://h/v1", "v1/embeddings", "http://h/v1/embeddings"),
        ("http://h/v1/", "v1/rerank", "http://h/v1/rerank"),
        ("http://h/v1beta/openai", "v1/embeddings", "http://h/v1beta/openai/embeddings"),
        ("http://h/api/v3", "v1/embeddings", "http://h/api/v3/embeddings"),
        ("http://h/behind/a/proxy", "v1/embeddings", "http://h/behind/a/proxy/v1/embeddings"),
        ("http://h/v2", "v2/rerank", "http://h/v2/rerank"),
        ("http://h/tei", "embed", "http://h/tei/embed"),
        ("http://h/v1", "rerank", "http://h/v1/rerank"),
    ],
)
def test_where_a_route_is(base: str, path: str, expected: str) -> None:
    assert endpoint(base, path) == expected
