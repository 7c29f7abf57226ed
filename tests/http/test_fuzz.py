"""Whatever a client sends: an answer, never a 5xx, and every error in the one body."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http import expect
from tests.http.conftest import InProcess
from tests.http.fuzzing import check, fuzzing

FIELDS = [
    "input", "model", "encoding_format", "dimensions", "output_dimension", "input_type", "task", "prompt_name",
    "apply_ruri_prefix", "instruction", "truncate", "truncation", "normalize", "normalized", "output_dtype",
    "embedding_types", "user", "texts", "inputs", "truncation_direction", "images", "max_tokens", "query", "documents",
    "top_n", "return_documents", "raw_scores", "max_tokens_per_doc", "rank_fields", "text_1", "text_2", "parameters",
    "ids", "skip_special_tokens", "add_special_tokens", "return_text",
]  # fmt: skip
WORDS = [
    "", "text", "content", "source_sentence", "sentences", "m3", "ranker", "classifier", "tiny:query",
    "float", "base64", "int8", "uint8", "binary", "ubinary", "query", "document", "search_query", "clustering",
    "START", "END", "NONE", "none", "left", "right", "tiny", "plain", "strict", "instructed", "native", "no-ids", "\0",
    "\ud800", "\udfff", "猫", "😀", "true", "8", "-1", "{task}",
]  # fmt: skip

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 45),
    st.integers(),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(max_size=30),
    st.text(st.characters(codec=None), max_size=5),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["text", *WORDS]), inner, max_size=3),
    max_leaves=8,
)
inputs = st.one_of(
    st.text(max_size=40),
    st.lists(st.text(max_size=20), min_size=1, max_size=4),
    st.lists(st.integers(0, 100300), min_size=1, max_size=4),
    st.lists(st.fixed_dictionaries({"text": st.text(max_size=20)}), min_size=1, max_size=3),
    values,
)
bodies = st.one_of(
    st.builds(
        lambda given, rest: rest | given,
        st.fixed_dictionaries({}, optional=dict.fromkeys(("input", "texts", "inputs", "documents", "ids"), inputs)),
        st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), values, max_size=4),
    ),
    values,
)
PATHS = [
    "/v1/embeddings", "/embed", "/", "/v1/embed", "/v2/embed", "/similarity", "/predict", "/tokenize", "/decode",
    "/embed_sparse", "/embed_all", "/v1/rerank", "/infinity/rerank", "/v1/score", "/m/m3/embed_sparse", "/m/plain",
]  # fmt: skip


@fuzzing
@given(path=st.sampled_from(PATHS), body=bodies)
def test_any_json(in_process: InProcess, path: str, body: Any) -> None:
    check(in_process.post(path, content=expect.raw(body)))


@fuzzing
@given(
    path=st.sampled_from(PATHS),
    body=st.binary(max_size=200),
    kind=st.text(st.characters(max_codepoint=255), max_size=20),
)
def test_any_bytes(in_process: InProcess, path: str, body: bytes, kind: str) -> None:
    check(in_process.post(path, content=body, headers={"content-type": kind.encode("latin-1")}))


@fuzzing
@given(path=st.sampled_from(PATHS), body=bodies, cut=st.integers(0, 60), noise=st.binary(max_size=3))
def test_damaged_json(in_process: InProcess, path: str, body: Any, cut: int, noise: bytes) -> None:
    whole = expect.raw(body)
    check(in_process.post(path, content=whole[:cut] + noise + whole[cut + 1 :]))


@settings(parent=fuzzing, max_examples=100)
@given(query=st.dictionaries(st.sampled_from(["q", "model", "x"]), st.sampled_from(WORDS[:-1]) | st.text(max_size=20)))
def test_any_query(in_process: InProcess, query: dict[str, str]) -> None:
    pairs = {name: value.encode("utf-8", "surrogatepass") for name, value in query.items()}
    check(in_process.get("/embed?" + str(httpx.QueryParams({n: v.decode("latin-1") for n, v in pairs.items()}))))


@settings(parent=fuzzing, max_examples=100)
@given(path=st.text(max_size=30))
def test_any_path(in_process: InProcess, path: str) -> None:
    url = httpx.URL("http://in-process").copy_with(
        raw_path=b"/v1/models/" + path.encode("utf-8", "replace").hex("%").encode()
    )
    check(in_process.request("GET", str(url)))


@pytest.mark.parametrize("number", [0, -1, 1, 2**31, 2**63, 2**64, 10**400])
def test_any_number_anywhere(in_process: InProcess, number: int) -> None:
    for field in FIELDS:
        check(in_process.post("/v1/embeddings", content=expect.raw({"input": "a", field: number})))
        check(in_process.post("/embed", content=expect.raw({"texts": ["a"], field: number})))
        check(in_process.post("/embed", content=expect.raw({"inputs": [number], field: number})))
