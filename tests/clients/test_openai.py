"""The openai package, three major versions of it, against a live server with the real default model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.clients.conftest import RunProgram
from tests.clients.environments import OPENAI, EnvironmentMissing, python_of
from tests.clients.matrix import Matrix
from tests.clients.servers import (
    CUT,
    DOCUMENT_PROMPT,
    MODEL,
    PROMPTS,
    QUERY_PROMPT,
    RERANKER,
    STRICT,
    STRICT_RERANKER,
    UNREACHABLE,
    Servers,
    answer_of,
)
from tests.clients.values import (
    assert_same,
    golden_tokens,
    golden_vectors,
    rows_of,
    texts_at,
    thousand_rows,
    unit,
    value_of,
    vectors_of,
)
from tests.goldens_io import golden_texts

check = pytest.mark.check
pytestmark = pytest.mark.parametrize("client", OPENAI)

ONE = 0
FEW = rows_of(["published", "emoji", "japanese-query"])
EVERY = list(range(len(golden_texts())))


@pytest.fixture(scope="session")
def given(report_of: RunProgram) -> dict[str, Any]:
    """What the program embeds; the ids are tiktoken's own."""
    few = texts_at(FEW)
    ids = value_of(report_of("langchain", "tokenize_cl100k.py", few), "ids")
    return {
        "text": golden_texts()[ONE],
        "few": few,
        "texts": golden_texts(),
        "token_ids": ids,
        "thousand": texts_at(thousand_rows()),
    }


@pytest.fixture
def report(client: str, report_of: RunProgram, given: dict[str, Any]) -> dict[str, Any]:
    return report_of(client, "openai_vectors.py", given)


@pytest.fixture
def errors(client: str, report_of: RunProgram) -> dict[str, Any]:
    return report_of(client, "openai_errors.py", None)


def assert_answers(value: dict[str, Any], rows: list[int], model: str = MODEL) -> None:
    """The whole answer: the goldens' vectors in input order, and a true count of tokens."""
    assert_same(vectors_of(value), golden_vectors(rows))
    assert value["indices"] == list(range(len(rows)))
    assert value["objects"] == ["embedding", "list"]
    assert value["model"] == model
    assert value["prompt_tokens"] == value["total_tokens"] == golden_tokens(rows)


@check("a string")
def test_string(report: dict[str, Any]) -> None:
    assert_answers(value_of(report, "string"), [ONE])


@check("a list: 346 texts of every kind equal the goldens")
def test_list(report: dict[str, Any]) -> None:
    assert_answers(value_of(report, "list"), EVERY)


@check("token ids, flat and nested (cl100k)")
def test_token_ids(report: dict[str, Any]) -> None:
    assert_answers(value_of(report, "flat token ids"), FEW[:1])
    assert_answers(value_of(report, "nested token ids"), FEW)


@check("base64 (the default) and float: equal bit for bit")
def test_base64_is_float(report: dict[str, Any]) -> None:
    as_base64, as_float = (vectors_of(value_of(report, step)) for step in ("list", "float"))
    assert np.array_equal(as_base64.view(np.uint32), as_float.view(np.uint32))


@check("dimensions")
def test_dimensions(report: dict[str, Any]) -> None:
    value = value_of(report, "dimensions")
    assert_same(vectors_of(value), unit(golden_vectors(FEW)[:, :128]))
    assert value["model"] == "minilm-cut"


@check("input_type through extra_body")
@pytest.mark.parametrize(("step", "prompt"), [("query", QUERY_PROMPT), ("document", DOCUMENT_PROMPT)])
def test_input_type(report: dict[str, Any], servers: Servers, step: str, prompt: str) -> None:
    value = value_of(report, step)
    prefixed = [prompt + text for text in texts_at(FEW)]
    plain = answer_of(servers.open, "/v1/embeddings", {"input": prefixed, "model": MODEL})
    assert_same(vectors_of(value), np.array([item["embedding"] for item in plain["data"]], np.float32))
    assert value["prompt_tokens"] == plain["usage"]["prompt_tokens"] > golden_tokens(FEW)
    assert value["model"] == PROMPTS


@check("an empty string")
def test_empty_string(report: dict[str, Any]) -> None:
    empty = golden_texts().index("")
    assert_answers(value_of(report, "empty"), [empty])
    assert_answers(value_of(report, "empty in a list"), [empty, ONE])


@check("1,000 texts in one request")
def test_thousand(report: dict[str, Any]) -> None:
    assert_answers(value_of(report, "thousand"), thousand_rows())


@check("AsyncOpenAI, many requests at once")
def test_parallel(report: dict[str, Any]) -> None:
    assert_same(vectors_of(value_of(report, "parallel")), golden_vectors(FEW))


@check("models.list")
def test_models(report: dict[str, Any]) -> None:
    models = value_of(report, "models")
    assert [model["id"] for model in models] == [
        MODEL, CUT, PROMPTS, STRICT, RERANKER, STRICT_RERANKER, UNREACHABLE,
    ]  # fmt: skip
    assert {model["object"] for model in models} == {"model"}
    assert all(isinstance(model["created"], int) and model["owned_by"] for model in models)


@check("models.retrieve, by short name and by hub id")
@pytest.mark.parametrize(
    ("step", "name"), [("model", MODEL), ("model by hub id", "sentence-transformers/all-MiniLM-L6-v2")]
)
def test_model(report: dict[str, Any], step: str, name: str) -> None:
    model = value_of(report, step)
    assert (model["id"], model["object"], model["kind"]) == (name, "model", "embedding")
    assert (model["dimensions"], model["max_tokens"]) == (384, 256)
    assert model["revision"] == "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"


@check("an API key")
def test_key(report: dict[str, Any]) -> None:
    assert_answers(value_of(report, "key"), [ONE])


@check("a base URL without /v1")
def test_without_v1(report: dict[str, Any]) -> None:
    assert_answers(value_of(report, "without /v1"), [ONE])


@check("a full queue is waited for and tried again")
def test_retried(report: dict[str, Any]) -> None:
    value = value_of(report, "retried")
    assert_answers(value, [ONE])
    assert 1 <= value["retries"] <= 3


@dataclass(frozen=True)
class Expected:
    """kind: the exception's class. says: parts of the message, among them what to do."""

    title: str
    status: int
    kind: str
    code: str
    param: str | None
    says: tuple[str, ...]


ERRORS = {
    "empty list": Expected(
        "an empty list", 400, "BadRequestError", "invalid_request", "input", ("`input`", "send at least one text")
    ),
    "dimensions": Expected(
        "`dimensions` of a model that has none to choose from", 400, "BadRequestError", "invalid_request", "dimensions",
        ("384 dimensions, not 100", "Leave `dimensions` out"),
    ),
    "too many dimensions": Expected(
        "more `dimensions` than the model has", 400, "BadRequestError", "invalid_request", "dimensions",
        ("`dimensions` is 500", "1 to 384"),
    ),
    "input_type": Expected(
        "an unknown `input_type`", 400, "BadRequestError", "invalid_request", "input_type",
        ("'question' is not known", "query, document"),
    ),
    "no such prompt": Expected(
        "an `input_type` the model has no prompt for", 400, "BadRequestError", "invalid_request", "input_type",
        ("no prompt for 'classification'", "It has: query, document"),
    ),
    "too long": Expected(
        "a text too long, and `truncate` false", 400, "BadRequestError", "input_too_long", "input",
        ("input[0] is 302 tokens long", "256", "shorten it"),
    ),
    "foreign token id": Expected(
        "token ids of another tokenizer", 400, "BadRequestError", "invalid_request", "input",
        ("token id 150000", "check_embedding_ctx_length=False"),
    ),
    "no key": Expected(
        "no API key", 401, "AuthenticationError", "invalid_api_key", None, ("Authorization: Bearer <key>",)
    ),
    "wrong key": Expected(
        "a wrong API key", 401, "AuthenticationError", "invalid_api_key", None, ("check the key your client sends",)
    ),
    "unknown model": Expected(
        "a model's name misspelt", 404, "NotFoundError", "model_not_found", "model",
        ("'all-minilm-l6' does not exist", "Did you mean 'all-minilm-l6-v2'"),
    ),
    "unknown model id": Expected(
        "a model that is not here (`models.retrieve`)", 404, "NotFoundError", "model_not_found", "model",
        ("'BAAI/bge-m3' does not exist", "Models here: all-minilm-l6-v2"),
    ),
    "large body": Expected(
        "a body that is too large", 413, "APIStatusError", "request_too_large", None,
        ("larger than 0.25 MiB", "send fewer texts"),
    ),
    "many tokens": Expected(
        "more tokens than one request may hold", 413, "APIStatusError", "request_too_large", "input",
        ("50,400 tokens", "at most 40,000", "split it"),
    ),
    "queue full": Expected(
        "the queue is full", 429, "RateLimitError", "overloaded", None,
        ("tokens wait for this model", "send the request again a little later"),
    ),
    "unreachable model": Expected(
        "the model's files cannot be had", 503, "InternalServerError", "source_unreachable", None,
        ("'unreachable' could not be fetched", "the server is offline", "fetch the model once with `sekisho pull`"),
    ),
}  # fmt: skip


@check("errors: class, status, code, param, request id, message")
@pytest.mark.parametrize("error", ERRORS)
def test_error(client: str, errors: dict[str, Any], error: str, matrix: Matrix) -> None:
    expected, seen = ERRORS[error], value_of(errors, error)
    assert seen is not None, "nothing was raised"
    matrix.note_text(expected.title, client, seen["type"], seen["text"])

    assert (seen["type"], seen["status"]) == (expected.kind, expected.status)
    assert "APIStatusError" in seen["types"]
    assert (seen["code"], seen["param"]) == (expected.code, expected.param)
    assert re.fullmatch(r"req_[0-9a-f]{24}", seen["request_id"])
    assert seen["text"].startswith(f"Error code: {expected.status} - ")
    for part in expected.says:
        assert part in seen["text"]
    assert "Traceback" not in seen["text"]
    assert not re.search(r"(?<![\w.])/\w", seen["text"])  # no path of the server
    retryable = expected.status in {429, 503}
    for header in ("retry-after", "retry-after-ms"):
        assert bool(seen["headers"][header]) == retryable


@check("errors: a text of one line, with nothing but the message")
def test_error_texts_are_short(client: str, errors: dict[str, Any]) -> None:
    for error in ERRORS:
        text = value_of(errors, error)["text"]
        assert "\n" not in text
        if client == "openai3":
            assert "{" not in text
        assert len(text) < (300 if client == "openai3" else 1000)


def test_a_missing_environment_says_what_to_run(client: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentMissing, match=f"{client} is missing: run scripts/clients"):
        python_of(client, tmp_path)
    (tmp_path / client / "bin").mkdir(parents=True)
    (tmp_path / client / "bin" / "python").touch()
    (tmp_path / client / "installed").write_text("somewhere\nopenai==0.1\n", "utf-8")
    with pytest.raises(EnvironmentMissing, match=f"{client} is old: run scripts/clients"):
        python_of(client, tmp_path)
