"""text-embeddings-inference's routes: its shapes (router/src/http/types.rs of 1.9.3), our values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

import sekisho
from tests.goldens.encoders import load_golden, sample_pairs
from tests.goldens.m3 import load_golden as load_m3
from tests.goldens.m3 import some_texts
from tests.http import expect
from tests.http.live import Server
from tests.http.wire import CLASSIFIER, M3, RANKER


def post(server: Server, path: str, **body: Any) -> Any:
    response = server.client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def refused(server: Server, path: str, status: int = 400, **body: Any) -> str:
    return expect.failed(server.client.post(path, json=body), status, "", tei=True)


# --- POST / ---


def test_the_bare_base_url_embeds(server: Server) -> None:
    rows = expect.vectors(server.embed(input=["a", "b"]))
    np.testing.assert_array_equal(np.array(post(server, "/", inputs=["a", "b"]), np.float32), rows)
    single = np.array(post(server, "/", inputs="a", truncate=True, normalize=None), np.float32)
    assert single.shape == (1, 40)
    plain = np.array(post(server, "/", inputs=["a", "b"], truncate=True, normalize=False), np.float32)
    np.testing.assert_array_equal(plain, expect.vectors(server.embed(input=["a", "b"], normalize=False)))


def test_the_bare_base_url_ranks(server: Server) -> None:
    body = {"query": "cat", "texts": ["a dog", "the cat", "a planet"], "return_text": True}
    there = post(server, "/", **body)
    assert there == post(server, "/rerank", **body)
    assert sorted(one["index"] for one in there) == [0, 1, 2]


def test_the_bare_base_url_compares(server: Server) -> None:
    inputs = {"source_sentence": "cat", "sentences": ["dog", "cat"]}
    assert post(server, "/", inputs=inputs) == post(server, "/similarity", inputs=inputs)


def test_the_bare_base_url_of_a_reranker_predicts(server: Server) -> None:
    assert post(server, "/m/ranker", inputs=["a", "b"]) == post(server, "/predict", inputs=["a", "b"])
    assert post(server, "/", inputs=["a", "b"], model="ranker") == post(server, "/predict", inputs=["a", "b"])


@pytest.mark.parametrize("body", [{}, {"inputs": None}, {"texts": ["a"]}, {"query": "a"}, {"text": "a"}])
def test_the_bare_base_url_with_nothing_to_do(server: Server, body: dict[str, Any]) -> None:
    expect.failed(server.client.post("/", json=body), 400, "invalid_request", "inputs", tei=True)


# --- similarity ---


def test_similarity_is_the_cosine(server: Server) -> None:
    sentences = ["dog", "cat", ""]
    rows = expect.vectors(server.embed(input=["cat", *sentences]))
    there = post(server, "/similarity", inputs={"source_sentence": "cat", "sentences": sentences})
    np.testing.assert_allclose(there, rows[1:] @ rows[0], atol=1e-6)
    assert there[1] == pytest.approx(1, abs=1e-6)
    asked = post(
        server,
        "/similarity",
        inputs={"source_sentence": "cat", "sentences": sentences},
        parameters={"prompt_name": "query", "truncate": True, "truncation_direction": "Right"},
    )
    queries = expect.vectors(server.embed(input=["cat", *sentences], input_type="query"))
    np.testing.assert_allclose(asked, queries[1:] @ queries[0], atol=1e-6)
    named = post(server, "/m/plain/similarity", inputs={"source_sentence": "cat", "sentences": ["dog"]})
    rows = expect.vectors(server.embed(input=["cat", "dog"], model="plain"))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(named, unit[1:] @ unit[0], atol=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": "a"},
        {"inputs": {"source_sentence": "a"}},
        {"inputs": {"source_sentence": "a", "sentences": []}},
        {"inputs": {"source_sentence": "a", "sentences": [5]}},
        {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "parameters": {"prompt_name": "nonsense"}},
        {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "parameters": 5},
        {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "model": "ranker"},
    ],
)
def test_similarity_gone_wrong(server: Server, body: dict[str, Any]) -> None:
    assert refused(server, "/similarity", **body)


# --- predict ---


def test_predict_is_the_golden_of_each_pair(server: Server) -> None:
    pairs = list(sample_pairs())
    logits = load_golden(RANKER).outputs[:, 0]
    raw = post(server, "/predict", inputs=[list(pair) for pair in pairs], raw_scores=True)
    assert [[each["label"] for each in one] for one in raw] == [["LABEL_0"]] * len(pairs)
    np.testing.assert_allclose([one[0]["score"] for one in raw], logits, rtol=1e-4, atol=1e-5)
    likely = post(server, "/predict", inputs=[list(pair) for pair in pairs])
    np.testing.assert_allclose([one[0]["score"] for one in likely], 1 / (1 + np.exp(-logits)), atol=1e-5)
    (single,) = post(server, "/predict", inputs=list(pairs[0]))
    assert single["score"] == pytest.approx(likely[0][0]["score"], abs=1e-6)


def test_predict_of_a_classifier_is_a_softmax_the_likeliest_first(server: Server) -> None:
    pairs = list(sample_pairs())
    logits = load_golden(CLASSIFIER).outputs
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = powers / powers.sum(axis=1, keepdims=True)
    there = post(server, "/m/classifier/predict", inputs=[list(pair) for pair in pairs])
    for one, row in zip(there, expected, strict=True):
        assert [each["score"] for each in one] == sorted((each["score"] for each in one), reverse=True)
        by_label = {each["label"]: each["score"] for each in one}
        np.testing.assert_allclose([by_label[f"LABEL_{i}"] for i in range(3)], row, atol=1e-5)
    raw = post(server, "/predict", inputs=list(pairs[0]), model="classifier", raw_scores=True)
    np.testing.assert_allclose(sorted(e["score"] for e in raw), sorted(logits[0]), rtol=1e-4, atol=1e-5)


def test_predict_takes_single_texts(server: Server) -> None:
    (one,) = post(server, "/predict", inputs="a cat")
    assert set(one) == {"score", "label"}
    assert post(server, "/predict", inputs=["a cat"]) == [one]
    mixed = post(server, "/predict", inputs=[["a cat"], ["a", "b"]])
    assert len(mixed) == 2
    assert mixed[0][0]["score"] == pytest.approx(one["score"], abs=1e-6)


@pytest.mark.parametrize(
    "inputs", [None, [], "", 5, {}, ["a", "b", "c"], [["a", "b", "c"]], [[]], [["a"], "b"], [["a"], [5]], [5, 6]]
)
def test_predict_gone_wrong(server: Server, inputs: Any) -> None:
    if inputs == "":
        assert len(post(server, "/predict", inputs=inputs)) == 1
    else:
        assert "inputs" in refused(server, "/predict", inputs=inputs)


def test_an_embedding_model_predicts_nothing(server: Server) -> None:
    message = refused(server, "/predict", inputs="a", model="tiny")
    assert "ranker, classifier" in message


# --- sparse and multi-vector ---


def test_sparse_weights_are_the_goldens(server: Server) -> None:
    texts, golden = some_texts(), load_m3(M3.name)
    there = post(server, "/embed_sparse", inputs=texts, model="m3")
    special = {0, 1, 2, 3}  # what XLM-RoBERTa puts around texts, and in place of what it does not know
    for one, ids, weights in zip(there, golden.ids, golden.sparse, strict=True):
        assert [each["index"] for each in one] == sorted(each["index"] for each in one)
        expected: dict[int, float] = {}
        for token, weight in zip(ids, weights.tolist(), strict=True):
            if token not in special:
                expected[token] = max(weight, expected.get(token, 0.0))
        made = {each["index"]: each["value"] for each in one}
        assert not special & made.keys()
        assert all(value == pytest.approx(expected[token], rel=1e-4, abs=2e-5) for token, value in made.items())
        assert {token for token, weight in expected.items() if weight > 1e-4} <= made.keys()
    assert any(there)


def test_sparse_weights_by_every_road(server: Server) -> None:
    one = post(server, "/embed_sparse", inputs=["the cat"], model="m3")
    assert one == post(server, "/m/m3/embed_sparse", inputs="the cat")
    queries = post(server, "/embed_sparse", inputs="the cat", model="m3", prompt_name="query")
    assert queries == post(server, "/embed_sparse", inputs="the cat", model="m3:query") != one


def test_a_vector_for_each_token(server: Server) -> None:
    texts = some_texts()
    there = post(server, "/embed_all", inputs=texts, model="m3")
    for one, rows in zip(there, load_m3(M3.name).colbert, strict=True):
        np.testing.assert_allclose(np.array(one, np.float32), rows, atol=1e-5)


@pytest.mark.parametrize("path", ["/embed_sparse", "/embed_all"])
def test_models_without_the_head_name_those_with_it(server: Server, path: str) -> None:
    assert "m3" in refused(server, path, inputs="a", model="tiny")
    assert "m3" in refused(server, path, inputs="a")
    for inputs in ([], None, 5, [5]):
        refused(server, path, inputs=inputs, model="m3")
    refused(server, path, 404, inputs="a", model="nobody")


# --- tokens ---


def test_tokens_with_their_bytes(server: Server) -> None:
    text = "the cat 動的計画法 [SEP] 😀"
    (tokens,) = post(server, "/tokenize", inputs=text)
    assert all(set(token) == {"id", "text", "special", "start", "stop"} for token in tokens)
    assert [token["special"] for token in tokens] == [True, *[False] * (len(tokens) - 2), True]
    assert (tokens[0]["start"], tokens[0]["stop"]) == (None, None)
    raw = text.encode()
    for token in tokens[1:-1]:
        assert raw[token["start"] : token["stop"]].decode() == token["text"]
    assert len(tokens) == server.embed(input=text).json()["usage"]["prompt_tokens"]
    assert post(server, "/tokenize", inputs=[text], add_special_tokens=False) == [tokens[1:-1]]


def test_tokens_are_those_of_the_model(server: Server, wire_registry: Any) -> None:
    tokenizer = Tokenizer.from_file(str(wire_registry.parent / "tiny-bert-mean" / "tokenizer.json"))
    tokenizer.no_truncation()
    texts = ["the cat", "", "猫 & 犬 " * 400]
    there = post(server, "/tokenize", inputs=texts)
    for text, tokens in zip(texts, there, strict=True):
        assert [token["id"] for token in tokens] == tokenizer.encode(text).ids


def test_tokens_with_a_prompt(server: Server) -> None:
    (whole,) = post(server, "/tokenize", inputs="検索クエリ: the cat")
    for body in ({"prompt_name": "query"}, {"model": "tiny:query"}):
        assert post(server, "/tokenize", inputs="the cat", **body) == [whole]


def test_ids_back_to_text(server: Server) -> None:
    ids = [[token["id"] for token in one] for one in post(server, "/tokenize", inputs=["the cat", "a dog"])]
    assert post(server, "/decode", ids=ids) == ["the cat", "a dog"]
    assert post(server, "/decode", ids=ids[0]) == ["the cat"]
    assert post(server, "/decode", ids=ids[0], skip_special_tokens=False) == ["[CLS] the cat [SEP]"]
    assert post(server, "/m/ranker/tokenize", inputs="a")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {"inputs": []}),
        ("/tokenize", {"inputs": [5]}),
        ("/tokenize", {}),
        ("/tokenize", {"inputs": "a", "prompt_name": "nonsense"}),
        ("/decode", {"ids": []}),
        ("/decode", {"ids": "a"}),
        ("/decode", {"ids": [[1], 2]}),
        ("/decode", {"ids": [-1]}),
        ("/decode", {"ids": [1021]}),
        ("/decode", {"ids": [2**70]}),
        ("/decode", {"ids": [True]}),
        ("/decode", {}),
    ],
)
def test_tokens_gone_wrong(server: Server, path: str, body: dict[str, Any]) -> None:
    assert refused(server, path, **body)


# --- info ---

INFO = {
    "model_id", "model_sha", "model_dtype", "served_model_name", "model_type", "max_concurrent_requests",
    "max_input_length", "max_batch_tokens", "max_batch_requests", "max_client_batch_size", "auto_truncate",
    "tokenization_workers", "version", "sha", "docker_label",
}  # fmt: skip


def info(server: Server, path: str) -> dict[str, Any]:
    response = server.client.get(path)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    assert set(body) == INFO
    assert body["version"] == sekisho.__version__
    assert len(body["model_type"]) == 1
    return body


def test_info_of_the_default_model(server: Server) -> None:
    body = info(server, "/info")
    assert body["model_type"] == {"embedding": {"pooling": "mean"}}
    assert (body["model_id"], body["max_input_length"], body["auto_truncate"]) == ("tiny", 512, True)
    assert body["max_client_batch_size"] >= 1
    assert body["model_dtype"] == "float32"


def test_info_of_a_named_model(server: Server) -> None:
    for path in ("/m/ranker/info", "/info?model=ranker"):
        body = info(server, path)
        assert body["model_type"] == {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}
        assert body["max_input_length"] == RANKER.limit
    assert list(info(server, "/m/classifier/info")["model_type"]) == ["classifier"]
    body = info(server, "/m/sentence-transformers/all-MiniLM-L6-v2/info")
    assert body["model_id"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert body["model_sha"] == "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
    assert body["max_input_length"] == 256
    assert info(server, "/m/strict/info")["auto_truncate"] is False
    expect.failed(server.client.get("/info?model=nobody"), 404, "model_not_found", "model")
