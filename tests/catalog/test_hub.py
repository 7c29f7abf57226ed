"""The hub as a place: the real huggingface_hub, in a process of its own, against a hub on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sekisho.catalog.lockfile import Lock, LockedModel, dump_lock, lock_path
from sekisho.catalog.registry import load_registry
from sekisho.settings import Settings
from tests.catalog.conftest import REVISION
from tests.catalog.hub import TOKEN, Hub, hub
from tests.checkpoints import write_tiny_bert
from tests.goldens_io import tiny_spec

PROGRAM = """
import json, sys
from sekisho.assemble import open_catalog
from sekisho.errors import SekishoError
from sekisho.settings import Settings

catalog, answers = open_catalog(Settings()), {}
for name in sys.argv[1:]:
    spec = catalog.registry.find(name)
    try:
        files = catalog.artifacts.verified(spec, catalog.lock.models.get(name))
        answers[name] = {"files": sorted(files), "paths": [str(path) for path in files.values()]}
    except SekishoError as error:
        answers[name] = {"error": type(error).__name__, "message": error.message}
print(json.dumps(answers))
"""
REPOSITORIES = (
    "ok", "private", "gated", "terms", "absent", "moved", "busy", "broken", "forbidden", "incomplete", "tampered",
    "secret",
)  # fmt: skip


@dataclass
class World:
    """A running hub, a registry of its repositories with the digests of the true files, and an empty cache."""

    server: Hub
    registry: Path
    cache: Path

    def ask(self, *names: str, **environment: str) -> dict[str, Any]:
        """What fetching each model gives, in a process whose hub is ours."""
        settings: dict[str, str] = {
            "SEKISHO_MODELS": str(self.registry),
            "HF_ENDPOINT": self.server.endpoint,
            "HF_HOME": str(self.cache),
            "PATH": os.environ["PATH"],
        }
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *names], env=settings | environment, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answers


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("hub")
    files = write_tiny_bert(tiny_spec("tiny-bert-max"), root / "files")
    blocks = [f"  - {{name: {name}, source: {{hub: org/{name}, revision: {REVISION}}}}}\n" for name in REPOSITORIES] + [
        "  - {name: local, source: {path: files}}\n"
    ]
    (root / "models.yaml").write_text("version: 1\nmodels:\n" + "".join(blocks), "utf-8")
    registry = load_registry(root / "models.yaml")

    from sekisho.catalog.artifacts import Artifacts

    pins = Artifacts(root, offline=True).measure(registry.find("local"))
    locked = LockedModel(revision=REVISION, files=pins)
    lock_path(root / "models.yaml").write_text(dump_lock(Lock(models=dict.fromkeys(REPOSITORIES, locked))), "utf-8")
    with hub(files, REVISION) as server:
        yield World(server, root / "models.yaml", root / "cache")


@pytest.fixture(scope="module")
def answers(world: World) -> dict[str, Any]:
    return world.ask(*REPOSITORIES)


def test_files_are_fetched_into_the_users_own_cache_and_verified(world: World, answers: dict[str, Any]) -> None:
    assert "error" not in answers["ok"], answers["ok"]
    assert "model.safetensors" in answers["ok"]["files"]
    assert "1_Pooling/config.json" in answers["ok"]["files"]
    assert all(Path(path).is_relative_to(world.cache) for path in answers["ok"]["paths"])


def test_only_pinned_files_are_asked_for(world: World, answers: dict[str, Any]) -> None:
    assert {name for _, repository, name in world.server.asked if repository == "org/ok"} == set(answers["ok"]["files"])


def test_what_was_fetched_is_there_offline_and_when_the_hub_is_gone(world: World, answers: dict[str, Any]) -> None:
    assert "files" in answers["ok"]
    before = len(world.server.asked)
    assert world.ask("ok", SEKISHO_OFFLINE="1")["ok"] == answers["ok"]
    assert world.ask("ok", HF_ENDPOINT="http://127.0.0.1:9")["ok"] == answers["ok"]
    assert len(world.server.asked) == before


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("private", "asks for a token (401): set HF_TOKEN"),
        ("gated", "access is refused (401): accept the model's terms on its page"),
        ("secret", "access is refused (401): accept the model's terms on its page"),
        ("terms", "access is refused (403): accept the model's terms on its page"),
        ("forbidden", "access is refused (403)"),
        ("absent", "no such repository or revision (404)"),
        ("moved", "no such repository or revision (404)"),
        ("busy", "limits our requests (429)"),
        ("broken", "it answered 500"),
        ("incomplete", "hub org/incomplete does not have it"),
    ],
)
def test_each_refusal_of_the_hub_is_told_with_what_to_do(answers: dict[str, Any], name: str, part: str) -> None:
    assert answers[name]["error"] == "SourceUnreachable"
    assert f"org/{name}" in answers[name]["message"]
    assert part in answers[name]["message"]


def test_a_missing_file_is_named(answers: dict[str, Any]) -> None:
    assert "'incomplete'" in answers["incomplete"]["message"]
    assert "tokenizer.json: hub org/incomplete" in answers["incomplete"]["message"]


def test_other_bytes_than_the_pinned_ones_are_refused(answers: dict[str, Any]) -> None:
    assert answers["tampered"]["error"] == "ArtifactRefused"
    assert "hub org/tampered: sha256" in answers["tampered"]["message"]


def test_a_token_opens_what_is_gated(world: World, tmp_path: Path) -> None:
    assert "files" in world.ask("secret", HF_TOKEN=TOKEN, HF_HOME=str(tmp_path))["secret"]
    token = tmp_path / "token"
    token.write_text(TOKEN)
    answer = world.ask("secret", HF_TOKEN_PATH=str(token), HF_HOME=str(tmp_path / "other"))["secret"]
    assert "files" in answer, answer
    assert TOKEN not in str(world.ask("secret", HF_TOKEN=f"{TOKEN}x", HF_HOME=str(tmp_path / "third")))


def test_a_proxy_is_used(world: World, tmp_path: Path) -> None:
    """The hub's name exists nowhere: only the proxy, here the hub itself, can answer for it."""
    environment = {"HF_ENDPOINT": "http://hub.invalid", "HTTP_PROXY": world.server.endpoint, "HF_HOME": str(tmp_path)}
    assert "files" in world.ask("ok", **environment)["ok"]


def test_no_proxy_is_honoured(world: World, tmp_path: Path) -> None:
    environment = {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1,localhost", "HF_HOME": str(tmp_path)}
    assert "files" in world.ask("ok", **environment)["ok"]


def test_a_hub_that_cannot_be_reached(world: World, tmp_path: Path) -> None:
    answer = world.ask("ok", HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path))["ok"]
    assert answer["error"] == "SourceUnreachable"
    assert "hub org/ok: not in the local cache, and the hub cannot be reached (ConnectError)" in answer["message"]


def test_a_proxy_that_cannot_be_reached(world: World, tmp_path: Path) -> None:
    answer = world.ask("ok", HTTP_PROXY="http://127.0.0.1:9", HF_HOME=str(tmp_path))["ok"]
    assert answer["error"] == "SourceUnreachable"


@pytest.mark.parametrize("setting", ["SEKISHO_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_asked(world: World, tmp_path: Path, setting: str) -> None:
    before = len(world.server.log)
    answer = world.ask("ok", **{setting: "1", "HF_HOME": str(tmp_path)})["ok"]
    assert answer["error"] == "SourceUnreachable"
    assert "offline" in answer["message"]
    assert len(world.server.log) == before


def test_a_cache_that_cannot_be_written(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    answer = world.ask("ok", HF_HOME=str(tmp_path / "file"))["ok"]
    assert answer["error"] == "SourceUnreachable"
    assert "Not a directory" in answer["message"]


def lock(world: World, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "HF_ENDPOINT": world.server.endpoint,
        "HF_HOME": str(directory / "cache"),
        "PATH": os.environ["PATH"],
    }
    command = [sys.executable, "-m", "sekisho", "lock", *arguments, "--models", str(directory / "models.yaml")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_hub_is_asked_to_lock_a_model(world: World, tmp_path: Path) -> None:
    """`sekisho lock` through the hub writes the same pins as the files' own directory gives."""
    (tmp_path / "models.yaml").write_bytes(world.registry.read_bytes())
    assert lock(world, tmp_path, "ok").returncode == 0
    written = json.loads((tmp_path / "models.lock").read_text("utf-8"))["models"]
    assert written == {"ok": json.loads(lock_path(world.registry).read_text("utf-8"))["models"]["ok"]}


def test_a_branch_is_resolved_and_the_line_to_write_is_told(world: World, tmp_path: Path) -> None:
    """models.yaml stays as it is: until somebody writes the commit into it, the model is unpinned."""
    text = "version: 1\nmodels:\n  - {name: m, source: {hub: org/ok}}\n  - {name: n, source: {hub: org/broken}}\n"
    (tmp_path / "models.yaml").write_text(text)
    assert "`sekisho lock m --revision main`" in lock(world, tmp_path, "m").stderr
    done = lock(world, tmp_path, "m", "--revision", "main")
    assert done.returncode == 0, done.stderr
    assert f"revision: {REVISION}" in done.stdout.splitlines()[-1]
    assert (tmp_path / "models.yaml").read_text() == text
    assert json.loads((tmp_path / "models.lock").read_text())["models"]["m"]["revision"] == REVISION
    before = (tmp_path / "models.lock").read_bytes()
    for arguments in (["n", "--revision", "main"], ["m", "--revision", "gone"], ["m", "n", "--revision", "main"]):
        failed = lock(world, tmp_path, *arguments)
        assert failed.returncode == 1
        assert failed.stderr.count("\n") == 1, failed.stderr
    assert (tmp_path / "models.lock").read_bytes() == before


def test_settings_of_this_process_stay_its_own() -> None:
    assert Settings().offline is False
