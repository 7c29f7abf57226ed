"""`lock`, `pull --all` and `verify` without names: a registry with every sort of model, a hub on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.catalog.conftest import REVISION
from tests.catalog.hub import Hub, hub
from tests.checkpoints import write_tiny_bert
from tests.checkpoints_encoders import tiny_encoder, write_tiny_encoder
from tests.goldens_io import tiny_spec

REGISTRY = f"""\
version: 1
models:
  - {{name: pinned, source: {{hub: org/ok, revision: {REVISION}}}}}
  - {{name: unpinned, source: {{hub: org/other}}}}
  - {{name: local, source: {{path: files}}}}
  - {{name: ranker, kind: reranker, source: {{path: ranker}}}}
  - {{name: elsewhere, kind: reranker, upstream: {{api: cohere, base_url: "http://127.0.0.1:9", model: rerank}}}}
"""
GATED = f"  - {{name: gated, source: {{hub: org/gated, revision: {REVISION}}}}}\n"


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def outcomes(self) -> dict[str, bool | None]:
        """Model → whether it went well; None where it was passed by."""
        return {result["model"]: result["ok"] for result in self.json}

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Desk:
    root: Path
    server: Hub
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def lock(self) -> dict[str, Any]:
        models: dict[str, Any] = json.loads((self.root / "models.lock").read_text("utf-8"))["models"]
        return models

    def run(self, *command: str, **environment: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "sekisho", *command],
            env={
                "PATH": os.environ["PATH"], "SEKISHO_MODELS": str(self.root / "models.yaml"), "COLUMNS": "400",
                "SEKISHO_HOME": str(self.root / "home"), "HF_HOME": str(self.root / "hub-cache"),
                "HF_ENDPOINT": self.server.endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", "SEKISHO_LOG_LEVEL": "error",
                "SEKISHO_TUNE": "off",
            } | environment,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    files = write_tiny_bert(tiny_spec("tiny-bert-max"), tmp_path / "files")
    write_tiny_encoder(tiny_encoder("bert-reranker"), tmp_path / "ranker")
    (tmp_path / "models.yaml").write_text(REGISTRY, "utf-8")
    with hub(files, REVISION) as server:
        yield Desk(tmp_path, server)


def test_everything_that_can_be_locked_is_and_the_rest_is_told(desk: Desk) -> None:
    done = desk.run("lock")
    assert done.status == 0, done.err
    assert desk.lock.keys() == {"pinned", "local", "ranker"}
    assert desk.lock["pinned"]["revision"] == REVISION
    assert "locked pinned: 6 files" in done.out
    assert "unpinned: skipped: 'unpinned' names no revision" in done.out
    assert "`sekisho lock unpinned --revision main` finds" in done.out
    assert "elsewhere: skipped: runs at another service (http://127.0.0.1:9)" in done.out
    assert done.err == ""


def test_locking_the_unpinned_by_name_fails(desk: Desk) -> None:
    done = desk.run("lock", "local", "unpinned")
    assert done.status == 1
    assert desk.lock.keys() == {"local"}
    assert done.err.startswith("unpinned: 'unpinned' names no revision")


def test_a_model_that_the_hub_refuses_fails_lock_and_pull_and_the_others_go_on(desk: Desk) -> None:
    registry = desk.root / "models.yaml"
    registry.write_text(REGISTRY + GATED, "utf-8")
    locked = desk.run("lock")
    assert locked.status == 1
    assert desk.lock.keys() == {"pinned", "local", "ranker"}
    assert locked.err.startswith("gated: ")
    # Pinned on a machine that may, pulled on one that may not.
    pins = desk.lock | {"gated": desk.lock["pinned"]}
    (desk.root / "models.lock").write_text(json.dumps({"version": 1, "models": pins}), "utf-8")
    pulled = desk.run("pull", "--all", "--json")
    assert pulled.status == 1
    assert pulled.outcomes == {
        "elsewhere": None, "pinned": True, "unpinned": None, "local": True, "ranker": True, "gated": False
    }  # fmt: skip


def test_pulling_all_passes_by_what_has_no_pins_or_no_files(desk: Desk) -> None:
    desk.run("lock")
    done = desk.run("pull", "--all")
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("elsewhere: skipped: runs at another service")
    assert [line.split(" (")[0] for line in lines[1:] if "skipped" not in line] == [
        "pinned: ready", "local: ready", "ranker: ready"
    ]  # fmt: skip
    (unpinned,) = [line for line in lines if line.startswith("unpinned: ")]
    assert "skipped: The model 'unpinned' is not pinned" in unpinned
    assert "`sekisho lock unpinned`" in unpinned
    assert not any(repository == "org/other" for _, repository, _ in desk.server.asked)


@pytest.mark.parametrize(
    ("name", "part"), [("unpinned", "is not pinned"), ("elsewhere", "runs at another service (http://127.0.0.1:9)")]
)
def test_what_all_passes_by_fails_by_name(desk: Desk, name: str, part: str) -> None:
    desk.run("lock")
    for command in ("pull", "verify"):
        done = desk.run(command, name)
        assert done.status == 1
        assert part in done.err
        assert done.err.count("\n") == 1


def test_verifying_looks_at_what_is_here_and_names_what_is_not(desk: Desk) -> None:
    desk.run("lock")
    before = desk.run("verify", "--json")
    assert before.status == 0, before.err
    assert before.outcomes == {"elsewhere": None, "pinned": None, "unpinned": None, "local": True, "ranker": True}
    told = {result["model"]: result for result in before.json}
    assert told["pinned"]["skipped"] == "not here; `sekisho pull pinned` fetches it"
    named = desk.run("verify", "pinned")
    assert named.status == 1
    assert named.err.startswith("pinned: ")
    assert desk.run("pull", "pinned").status == 0
    desk.server.forget()
    after = desk.run("verify", "--json")
    assert after.outcomes["pinned"] is True
    assert desk.server.log == []


def test_a_damaged_file_fails_verify_without_names(desk: Desk) -> None:
    desk.run("lock")
    desk.run("pull", "--all")
    (blob,) = [path for path in (desk.root / "hub-cache").rglob("model.safetensors") if "snapshots" in path.parts]
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.resolve().write_bytes(data)
    done = desk.run("verify", "--json")
    assert done.status == 1
    assert done.outcomes == {"elsewhere": None, "pinned": False, "unpinned": None, "local": True, "ranker": True}


def test_models_that_are_gone_from_the_disk_are_not_here(desk: Desk) -> None:
    """A local source that was locked and taken away: like a package that is not installed on this machine."""
    desk.run("lock")
    (desk.root / "ranker").rename(desk.root / "away")
    done = desk.run("verify", "--json")
    assert done.status == 0, done.err
    assert done.outcomes["ranker"] is None
