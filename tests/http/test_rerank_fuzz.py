"""Whatever a client sends to rerank or score: an answer, never a 5xx, and every error in the one body."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http import expect
from tests.http.conftest import InProcess
from tests.http.fuzzing import check, fuzzing

PATHS = ["/v1/rerank", "/rerank", "/infinity/rerank", "/v1/score"]
FIELDS = [
    "query", "documents", "texts", "model", "top_n", "top_k", "return_documents", "return_text", "raw_scores",
    "use_activation", "activation", "max_tokens_per_doc", "max_chunks_per_doc", "truncate", "truncation",
    "truncation_direction", "instruction", "rank_fields", "text_1", "text_2", "queries", "items", "data_1", "data_2",
]  # fmt: skip
WORDS = [
    "", "a", "猫", "😀", "\0", "\ud800", "true", "false", "0", "-1", "2", "START", "END", "NONE", "left", "Right",
    "ranker", "classifier", "plain", "tiny", "instructed", "text", "title", "{query}", "{document}", "a " * 400,
]  # fmt: skip

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 45), st.integers(), st.floats(), st.sampled_from(WORDS),
    st.text(max_size=20), st.text(st.characters(codec=None), max_size=4),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=8,
)
texts = st.one_of(
    st.lists(st.sampled_from(WORDS) | st.text(max_size=12), min_size=1, max_size=5),
    st.lists(st.dictionaries(st.sampled_from(["text", "title", "a"]), scalars, max_size=3), min_size=1, max_size=4),
    values,
)
given_fields = st.fixed_dictionaries(
    {"query": st.sampled_from(WORDS) | values},
    optional=dict.fromkeys(("documents", "texts", "text_1", "text_2"), texts)
    | {"top_n": st.integers(-1, 9) | values, "model": st.sampled_from(WORDS), "rank_fields": st.lists(scalars)},
)
bodies = st.one_of(
    st.builds(
        lambda fields, rest: rest | fields,
        given_fields,
        st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), values, max_size=3),
    ),
    values,
)


@fuzzing
@given(path=st.sampled_from(PATHS), body=bodies)
def test_any_json(in_process: InProcess, path: str, body: Any) -> None:
    check(in_process.post(path, content=expect.raw(body)))


@fuzzing
@given(
    query=st.sampled_from(WORDS[:5]) | st.text(max_size=20),
    documents=st.lists(st.text(max_size=30) | st.just("a " * 200), min_size=1, max_size=8),
    top_n=st.integers(0, 10),
    model=st.sampled_from(["ranker", "plain", "tiny", None]),
)
def test_any_ranking_is_whole(
    in_process: InProcess, query: str, documents: list[str], top_n: int, model: str | None
) -> None:
    body = {"query": query, "documents": documents, "top_n": top_n, "model": model}
    response = in_process.post("/v1/rerank", json=body)
    assert response.status_code == 200, response.text
    listed = response.json()["results"]
    places = [one["index"] for one in listed]
    assert len(set(places)) == len(places) == (min(top_n, len(documents)) or len(documents))
    keys = [(-one["relevance_score"], one["index"]) for one in listed]
    if model != "ranker":  # whose equal sigmoids may be of unequal logits
        assert keys == sorted(keys)
    by_text = {documents[one["index"]]: one["relevance_score"] for one in listed}
    assert all(one["relevance_score"] == by_text[documents[one["index"]]] for one in listed)


@pytest.mark.parametrize("number", [0, -1, 1, 2**31, 2**63, 2**64, 10**400])
def test_any_number_anywhere(in_process: InProcess, number: int) -> None:
    for field in FIELDS:
        check(in_process.post("/v1/rerank", content=expect.raw({"query": "a", "documents": ["b"], field: number})))
        check(in_process.post("/rerank", content=expect.raw({"query": "a", "texts": ["b"], field: number})))
        check(in_process.post("/score", content=expect.raw({"text_1": "a", "text_2": ["b"], field: number})))
