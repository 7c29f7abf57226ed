"""The files of examples/, run as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.clients.environments import OPENAI, EnvironmentMissing, python_of, run
from tests.clients.servers import KEY, MODEL, Servers
from tests.clients.values import assert_same, golden_vectors
from tests.conftest import REPOSITORY
from tests.goldens_io import golden_texts

EXAMPLES = REPOSITORY / "examples"
#: What both programs find, best first.
FOUND = [
    "Bread needs flour, water, salt and time.",
    "The checkpoint on the old highway closed at sunset.",
    "Embeddings place similar texts close to each other.",
]

check = pytest.mark.check
RunExample = Callable[..., list[str]]


@pytest.fixture
def run_example(servers: Servers, tiktoken_cache: Path, tmp_path: Path) -> RunExample:
    """Run one by this program, against the open server unless told otherwise → the lines it prints."""

    def run_it(program: Path | str, name: str, **more: str) -> list[str]:
        variables = {"SEKISHO_URL": servers.open, "TIKTOKEN_CACHE_DIR": str(tiktoken_cache), **more}
        return run([program, EXAMPLES / name], variables, home=tmp_path).splitlines()

    return run_it


def _python(client: str) -> Path:
    try:
        return python_of(client)
    except EnvironmentMissing as missing:
        pytest.fail(str(missing), pytrace=False)


def assert_found(lines: list[str]) -> None:
    """`0.1234  text`, in falling order."""
    scores, texts = zip(*(line.split("  ", 1) for line in lines), strict=True)
    assert list(texts) == FOUND
    assert [float(score) for score in scores] == sorted(map(float, scores), reverse=True)
    assert float(scores[0]) > 0.3 > float(scores[1])


@pytest.mark.parametrize("client", OPENAI)
@check("examples/openai_sdk.py")
def test_openai_sdk(client: str, run_example: RunExample) -> None:
    first, *found, models, error = run_example(_python(client), "openai_sdk.py")
    assert first == "3 vectors of 384 dimensions, 38 tokens"
    assert_found(found)
    assert models.startswith(f"models: {MODEL}, ")
    assert error.startswith("NotFoundError model_not_found: Error code: 404")
    assert "Did you mean 'all-minilm-l6-v2'" in error


@pytest.mark.parametrize("client", ["openai3"])
@check("examples/openai_sdk.py")
def test_openai_sdk_with_a_key(client: str, run_example: RunExample, servers: Servers) -> None:
    lines = run_example(_python(client), "openai_sdk.py", SEKISHO_URL=servers.keyed, SEKISHO_API_KEY=KEY)
    assert_found(lines[1:4])


@check("examples/langchain_sdk.py", client="langchain")
def test_langchain_sdk(run_example: RunExample) -> None:
    assert_found(run_example(_python("langchain"), "langchain_sdk.py"))


@check("examples/curl.sh", client="curl")
def test_curl(run_example: RunExample, servers: Servers) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    for more in ({}, {"SEKISHO_URL": servers.keyed, "SEKISHO_API_KEY": KEY}):
        health, answer, models, error = map(json.loads, run_example("bash", "curl.sh", **more))
        assert health == {"ok": True}
        vectors = np.array([item["embedding"] for item in answer["data"]], np.float32)
        assert_same(vectors[:1], golden_vectors([golden_texts().index("hello world")]))
        assert (vectors.shape, answer["model"]) == ((2, 384), MODEL)
        assert models["data"][0]["id"] == MODEL
        assert error["error"]["code"] == "model_not_found"
        assert "all-minilm-l6-v2" in error["error"]["message"] == error["message"] == error["detail"]
