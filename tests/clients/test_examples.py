"""The files of examples/, run as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.clients.columns import COLUMNS
from tests.clients.conftest import skip_if_long
from tests.clients.environments import OPENAI, EnvironmentMissing, python_of, run, run_node
from tests.clients.servers import KEY, MODEL, Servers
from tests.clients.values import CLOSE, assert_same, golden_vectors
from tests.conftest import REPOSITORY
from tests.goldens_io import golden_texts

EXAMPLES = REPOSITORY / "examples"
#: What both programs find, best first.
FOUND = [
    "Bread needs flour, water, salt and time.",
    "The checkpoint on the old highway closed at sunset.",
    "Embeddings place similar texts close to each other.",
]

#: What the other programs find, best first.
BEST = ["A sourdough loaf is baked in a hot oven.", "Bread needs flour, water, salt and time."]
BEST_SCORES = [0.7048, 0.5572]
_VECTORS = "4 vectors of 384 dimensions"
_TOKENS = f"{_VECTORS}, 52 tokens"
#: Program → the columns it stands in, and what it says before the answers.
PROGRAMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "langchain_sdk.py": (("langchain",), ()),
    "llamaindex_sdk.py": (("llamaindex-openai-like",), ()),
    "haystack_sdk.py": (("haystack-openai",), ()),
    "cohere_sdk.py": (("cohere7-ClientV2.embed", "cohere5-ClientV2.embed"), ("4 vectors of 384 floats or 48 bytes",)),
    "voyage_sdk.py": (("voyage-embed",), (_TOKENS,)),
    "litellm_sdk.py": (("litellm",), (_VECTORS,)),
    "huggingface_sdk.py": (("hub2", "hub1"), (_VECTORS,)),
    "infinity_sdk.py": (("infinity-embeddings",), (_TOKENS,)),
    "openai_node.mjs": (("openai-node",), (_TOKENS,)),
    "langchain_node.mjs": (("langchain-node",), ()),
}

check = pytest.mark.check
RunExample = Callable[..., list[str]]


@pytest.fixture
def run_example(servers: Servers, tiktoken_cache: Path, tmp_path: Path) -> RunExample:
    """Run one by this program, against the open server unless told otherwise → the lines it prints."""

    def run_it(program: Path | str, name: str, **more: str) -> list[str]:
        variables = {"SEKISHO_URL": servers.open, "TIKTOKEN_CACHE_DIR": str(tiktoken_cache), **more}
        if name.endswith(".mjs"):
            return run_node(EXAMPLES / name, variables, home=tmp_path).splitlines()
        return run([program, EXAMPLES / name], variables, home=tmp_path).splitlines()

    return run_it


def _python(client: str) -> Path:
    try:
        return python_of(client)
    except EnvironmentMissing as missing:
        pytest.fail(str(missing), pytrace=False)


def assert_answered(first: str, second: str) -> None:
    """The two, the better one first, by the cosines that transformers gives."""
    assert [line.split("  ", 1)[1] for line in (first, second)] == BEST
    scores = [float(line.split()[0]) for line in (first, second)]
    assert scores == pytest.approx(BEST_SCORES, abs=CLOSE)


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


@pytest.mark.parametrize(
    ("client", "name", "lines"),
    [
        pytest.param(client, name, lines, marks=check(f"examples/{name}", client=client), id=f"{name} {client}")
        for name, (clients, lines) in PROGRAMS.items()
        for client in clients
    ],
)
def test_program(
    client: str, name: str, lines: tuple[str, ...], run_example: RunExample, request: pytest.FixtureRequest
) -> None:
    """What it says of the vectors, then the two best answers."""
    environment = COLUMNS[client].environment
    skip_if_long(environment, request.config)
    program = name if environment == "node" else _python(environment)
    *said, first, second = run_example(program, name)
    assert tuple(said) == lines
    assert_answered(first, second)


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == {*PROGRAMS, "openai_sdk.py", "curl.sh"}


@check("examples/curl.sh", client="curl")
def test_curl(run_example: RunExample, servers: Servers) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    for more in ({}, {"SEKISHO_URL": servers.keyed, "SEKISHO_API_KEY": KEY}):
        printed = run_example("bash", "curl.sh", **more)
        health, answer, reranked, models, error = map(json.loads, printed)
        assert [result["index"] for result in reranked["results"]] == [1, 0]
        assert health == {"ok": True}
        vectors = np.array([item["embedding"] for item in answer["data"]], np.float32)
        assert_same(vectors[:1], golden_vectors([golden_texts().index("hello world")]))
        assert (vectors.shape, answer["model"]) == ((2, 384), MODEL)
        assert models["data"][0]["id"] == MODEL
        assert error["error"]["code"] == "model_not_found"
        assert "all-minilm-l6-v2" in error["error"]["message"] == error["message"] == error["detail"]
