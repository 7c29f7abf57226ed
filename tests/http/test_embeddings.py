"""POST /v1/embeddings: every form of input and every field, against a real server."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from sekisho.service.quantize import code_range
from tests.goldens.corpus import load_texts
from tests.goldens_io import cosines, load_golden
from tests.http import expect
from tests.http.live import Server

TEXTS = ["関所", "the weather in the city", ""]


def embed(server: Server, input_: Any = None, **fields: Any) -> np.ndarray:
    return expect.vectors(server.embed({"input": TEXTS if input_ is None else input_} | fields))


def tokens(response: httpx.Response) -> int:
    count: int = response.json()["usage"]["prompt_tokens"]
    return count


# --- input ---


def test_the_corpus_gives_the_golden_vectors_and_the_true_token_count(server: Server) -> None:
    golden = load_golden("tiny-bert-mean")
    response = server.embed(input=load_texts())
    assert cosines(expect.vectors(response), golden.vectors).min() > 0.99999
    assert tokens(response) == sum(map(len, golden.ids))
    assert response.json()["model"] == "tiny"


def test_minilm_gives_the_golden_vectors(server: Server) -> None:
    golden = load_golden("all-minilm-l6-v2")
    response = server.embed(input=load_texts()[:60], model="all-minilm-l6-v2")
    assert cosines(expect.vectors(response), golden.vectors[:60]).min() > 0.99999
    assert tokens(response) == sum(map(len, golden.ids[:60]))


def test_every_form_of_input(server: Server) -> None:
    alone = embed(server, "hello world")
    for form in (
        ["hello world"],
        [15339, 1917],
        [[15339, 1917]],
        [{"text": "hello world"}],
        [{"text": "hello world", "title": "ignored"}],
    ):
        np.testing.assert_allclose(embed(server, form), alone, atol=1e-6)


def test_forms_may_be_mixed_in_a_list(server: Server) -> None:
    rows = embed(server, ["hello world", {"text": "hello world"}, [15339, 1917]])
    assert rows.shape == (3, 40)
    np.testing.assert_allclose(rows, rows[[0, 0, 0]], atol=1e-6)


def test_order_is_that_of_the_input(server: Server) -> None:
    texts = load_texts()[40:80]
    forth, back = embed(server, texts), embed(server, texts[::-1])
    assert cosines(forth, back[::-1]).min() > 0.999999


def test_the_empty_string_is_a_text(server: Server) -> None:
    assert np.isfinite(embed(server, "")).all()
    assert tokens(server.embed(input="")) == 2


def test_a_piece_of_token_ids_that_ends_inside_an_emoji_is_embedded(server: Server) -> None:
    parrot = [9468, 99, 250]  # 🦜
    assert embed(server, [parrot, parrot[:2], parrot[1:]]).shape == (3, 40)


def test_native_ids_are_the_models_own(server: Server) -> None:
    golden = load_golden("tiny-bert-mean")
    rows = embed(server, golden.ids[20:24], model="native")
    assert cosines(rows, golden.vectors[20:24]).min() > 0.99999


# --- model ---


@pytest.mark.parametrize(
    "name", ["tiny", "tiny-bert", "TINY", "laboratory/tiny-bert", "text-embedding-3-small", None, ""]
)
def test_a_model_by_any_of_its_names(server: Server, name: str | None) -> None:
    response = server.embed(input=TEXTS, model=name)
    np.testing.assert_array_equal(expect.vectors(response), embed(server))
    assert response.json()["model"] == (name or "tiny")


def test_a_model_by_hub_id(server: Server) -> None:
    rows = embed(server, model="sentence-transformers/all-MiniLM-L6-v2")
    np.testing.assert_array_equal(rows, embed(server, model="all-minilm-l6-v2"))


# --- fields ---


@pytest.mark.parametrize("path", ["/embeddings", "/v1/v1/embeddings", "/v1/embeddings/embeddings"])
def test_every_path_of_the_route(server: Server, path: str) -> None:
    response = server.client.post(path, json={"input": TEXTS})
    np.testing.assert_array_equal(expect.vectors(response), embed(server))


OPTIONAL = [
    "model", "encoding_format", "dimensions", "output_dimension", "input_type", "task", "prompt_name",
    "apply_ruri_prefix", "instruction", "truncate", "truncation", "normalize", "normalized", "output_dtype",
    "embedding_types", "embedding_type", "user",
]  # fmt: skip


@pytest.mark.parametrize("field", OPTIONAL)
def test_every_optional_field_may_be_null(server: Server, field: str) -> None:
    response = server.embed({"input": TEXTS, field: None})
    assert isinstance(response.json()["data"][0]["embedding"], list)
    np.testing.assert_array_equal(expect.vectors(response), embed(server))


def test_all_of_them_null_and_unknown_keys_ignored(server: Server) -> None:
    response = server.embed({"input": TEXTS, **dict.fromkeys(OPTIONAL), "late_chunking": True, "x": {"y": [1]}})
    np.testing.assert_array_equal(expect.vectors(response), embed(server))


def test_a_null_does_not_hide_another_spelling(server: Server) -> None:
    for fields in (
        {"dimensions": None, "output_dimension": 8},
        {"truncate": None, "truncation": False, "output_dimension": 8},
        {"input_type": None, "task": "retrieval.query", "dimensions": 8},
    ):
        assert embed(server, **fields).shape == (3, 8)


def test_base64_is_bit_by_bit_the_floats(server: Server) -> None:
    floats = embed(server, encoding_format="float")
    response = server.embed(input=TEXTS, encoding_format="base64")
    assert isinstance(response.json()["data"][0]["embedding"], str)
    encoded = expect.vectors(response)
    assert encoded.tobytes() == floats.tobytes()


def test_base64_comes_only_where_asked_for(server: Server) -> None:
    for fields in ({}, {"encoding_format": None}, {"encoding_format": "float"}):
        assert isinstance(server.embed({"input": "a"} | fields).json()["data"][0]["embedding"], list)


def test_dimensions_are_cut_and_normalised_again(server: Server) -> None:
    full = embed(server)
    cut = full[:, :8] / np.linalg.norm(full[:, :8], axis=1, keepdims=True)
    for fields in ({"dimensions": 8}, {"output_dimension": 8}):
        np.testing.assert_allclose(embed(server, **fields), cut, atol=1e-6)
    for all_of_them in (0, 40, None):
        np.testing.assert_array_equal(embed(server, dimensions=all_of_them), full)


WORDS = {
    "query": ["query", "search_query", "retrieval.query"],
    "document": ["document", "search_document", "retrieval.passage", "passage"],
}


@pytest.mark.parametrize("field", ["input_type", "task", "prompt_name"])
@pytest.mark.parametrize("kind", WORDS)
def test_input_type_in_every_dialects_words(server: Server, field: str, kind: str) -> None:
    prompt = {"query": "検索クエリ: ", "document": "検索文書: "}[kind]
    by_hand = server.embed(input=[prompt + text for text in TEXTS])
    for word in WORDS[kind]:
        response = server.embed({"input": TEXTS, field: word})
        np.testing.assert_allclose(expect.vectors(response), expect.vectors(by_hand), atol=1e-6)
        assert tokens(response) == tokens(by_hand)


def test_a_prefix_that_is_there_is_not_added_again(server: Server) -> None:
    once = server.embed(input=["検索クエリ: 猫"], input_type="query")
    assert tokens(once) == tokens(server.embed(input=["検索クエリ: 猫"]))


def test_a_model_without_prompts_takes_every_kind(server: Server) -> None:
    kinds = ("query", "document", "classification", "clustering", "sts", "search_query", "text-matching", "separation")
    for kind in kinds:
        np.testing.assert_array_equal(embed(server, model="plain", input_type=kind), embed(server, model="plain"))


def test_apply_ruri_prefix(server: Server) -> None:
    query, document = embed(server, "検索クエリ: 猫"), embed(server, "検索文書: 猫")
    np.testing.assert_allclose(embed(server, "猫", apply_ruri_prefix=True), query, atol=1e-6)
    np.testing.assert_allclose(embed(server, ["猫"], apply_ruri_prefix=True), document, atol=1e-6)
    np.testing.assert_allclose(embed(server, ["猫"], apply_ruri_prefix=True, input_type="query"), query, atol=1e-6)
    np.testing.assert_array_equal(embed(server, "猫", apply_ruri_prefix=False), embed(server, "猫"))


def test_an_instruction_fills_the_prompts_slot(server: Server) -> None:
    model = {"model": "instructed", "input_type": "query"}
    by_hand = embed(server, "Instruct: find cats Query: 猫")
    np.testing.assert_allclose(embed(server, "猫", instruction="find cats", **model), by_hand, atol=1e-6)
    by_default = embed(server, "Instruct: search the web Query: 猫")
    np.testing.assert_allclose(embed(server, "猫", **model), by_default, atol=1e-6)


LONG = "the cat " * 400 + "train station planet"


@pytest.mark.parametrize(
    "how", [{}, {"truncate": True}, {"truncate": "END"}, {"truncate": "end"}, {"truncation": True}]
)
def test_a_text_that_is_too_long_is_cut_at_its_end(server: Server, how: dict[str, Any]) -> None:
    response = server.embed({"input": ["short", LONG, LONG]} | how)
    assert response.headers["x-sekisho-truncated"] == "2"
    assert tokens(response) == 2 * 512 + tokens(server.embed(input="short"))
    by_hand = embed(server, "the cat " * 255)
    assert cosines(expect.vectors(response)[1:2], by_hand)[0] > 0.999999


def test_start_cuts_the_beginning_and_keeps_the_prompt(server: Server) -> None:
    response = server.embed(input=LONG, truncate="START", input_type="query")
    assert response.headers["x-sekisho-truncated"] == "1"
    prompt = tokens(server.embed(input="検索クエリ: ")) - 2
    kept = ("the cat " * 400 + "train station planet").split()[-(510 - prompt) :]
    assert cosines(expect.vectors(response), embed(server, "検索クエリ: " + " ".join(kept)))[0] > 0.999999


@pytest.mark.parametrize("how", [{"truncate": False}, {"truncate": "NONE"}, {"truncation": False}])
def test_refusing_to_be_cut(server: Server, how: dict[str, Any]) -> None:
    message = expect.failed(server.embed({"input": ["a", LONG]} | how), 400, "input_too_long", "input")
    assert "805 tokens" in message
    assert "512" in message
    assert "x-sekisho-truncated" not in server.embed({"input": ["a", "b"]} | how).headers


def test_the_registry_may_refuse_to_cut_and_the_client_may_allow_it(server: Server) -> None:
    expect.failed(server.embed(input=LONG, model="strict"), 400, "input_too_long", "input")
    assert server.embed(input=LONG, model="strict", truncate=True).headers["x-sekisho-truncated"] == "1"


def test_truncation_is_in_the_metrics(server: Server) -> None:
    before = server.metric("sekisho_truncated_total", model="tiny")
    server.embed(input=[LONG, "a", LONG])
    assert server.metric("sekisho_truncated_total", model="tiny") == before + 2


def test_normalize(server: Server) -> None:
    unit, plain = embed(server), embed(server, normalize=False)
    lengths = np.linalg.norm(plain, axis=1, keepdims=True)
    assert (np.abs(lengths - 1) > 0.01).all()
    np.testing.assert_allclose(plain / lengths, unit, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(embed(server, model="plain", normalize=True), axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(embed(server, normalized=False), plain)


@pytest.mark.parametrize("field", ["output_dtype", "embedding_types", "embedding_type"])
@pytest.mark.parametrize("kind", ["float", "int8", "uint8", "binary", "ubinary"])
def test_output_types(server: Server, field: str, kind: str) -> None:
    rows = embed(server)
    packed = np.packbits(rows > 0, axis=1).astype(np.int64)
    codes = np.clip(np.rint(rows * 127 / code_range(40)), -128, 127)
    wanted = {"float": rows, "int8": codes, "uint8": codes + 128, "binary": packed - 128, "ubinary": packed}[kind]
    for value in (kind, [kind]):
        body = server.embed({"input": TEXTS, field: value}).json()
        got = np.array([item["embedding"] for item in body["data"]])
        assert got.dtype.kind == ("f" if kind == "float" else "i")
        np.testing.assert_array_equal(got.astype(wanted.dtype), wanted)


@pytest.mark.parametrize(("kind", "dtype"), [("int8", np.int8), ("ubinary", np.uint8), ("binary", np.int8)])
def test_output_types_as_base64(server: Server, kind: str, dtype: type[np.generic]) -> None:
    plain = server.embed(input=TEXTS, output_dtype=kind).json()["data"]
    encoded = server.embed(input=TEXTS, output_dtype=kind, encoding_format="base64").json()["data"]
    for numbers, text in zip(plain, encoded, strict=True):
        assert np.frombuffer(base64.b64decode(text["embedding"]), dtype).tolist() == numbers["embedding"]


def test_user_is_logged_as_a_hash_only(server: Server) -> None:
    np.testing.assert_array_equal(embed(server, user="alice@example.org"), embed(server))
    server.client.get("/healthz")
    assert "alice" not in server.log
    assert '"user": "' in server.log


# --- the answer ---


def test_ten_thousand_texts_in_one_request(server: Server) -> None:
    """Each equals the vector of its text alone."""
    corpus = [text for text in load_texts() if len(text) < 60]
    texts = [corpus[i % len(corpus)] if i % 7 else f"{i} {corpus[i % len(corpus)]}" for i in range(10_000)]
    response = server.client.post("/v1/embeddings", json={"input": texts, "encoding_format": "base64"}, timeout=90)
    rows = expect.vectors(response)
    assert rows.shape == (10_000, 40)
    sample = range(0, 10_000, 397)
    alone = np.concatenate([embed(server, texts[i]) for i in sample])
    assert cosines(rows[sample], alone).min() > 0.999999
    by_text = dict(zip(texts, rows, strict=True))
    everywhere = np.stack([by_text[text] for text in texts])
    assert cosines(rows, everywhere).min() > 0.999999


def test_the_timings_add_up(server: Server) -> None:
    headers = server.embed(input=TEXTS).headers
    spent = sum(float(headers[f"x-{stage}-ms"]) for stage in ("queue", "tokenize", "inference"))
    assert spent <= float(headers["x-total-ms"]) + 0.1
