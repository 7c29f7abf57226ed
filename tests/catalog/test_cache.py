"""`sekisho cache`: what lies prepared, and what `prune` takes away."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from filelock import FileLock

from sekisho.assemble import Catalog
from sekisho.catalog.cache import LOCK_FILE, Version, hold, model_root, remove, versions
from sekisho.cli import main
from tests.catalog.conftest import OpenCatalog
from tests.convert.conftest import Source

Command = Callable[..., Any]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs `sekisho …` in this process: its JSON, or its text."""
    monkeypatch.setattr("sekisho.cli.options.configure_logging", lambda settings: None)
    monkeypatch.setenv("COLUMNS", "200")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(io.StringIO()))

    def run(*arguments: object) -> Any:
        monkeypatch.setattr(sys, "argv", ["sekisho", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        text = capsys.readouterr().out
        return json.loads(text) if "--json" in arguments else text

    yield run
    structlog.reset_defaults()


@pytest.fixture
def two(checkpoint: Path, catalog: OpenCatalog) -> tuple[Catalog, Path, Path]:
    """A catalogue, the directory of an old version, and that of the current one; nobody holds either."""
    old = _prepared(catalog)
    Source(checkpoint).edit("sentence_bert_config.json", max_seq_length=32)
    return catalog("{path: checkpoint}"), old, _prepared(catalog)


def _prepared(catalog: OpenCatalog) -> Path:
    opened = catalog("{path: checkpoint}")
    return opened.preparer.prepare(opened.registry.find("m")).directory


def listed(home: Path, *current: Path) -> dict[str, Version]:
    return {version.directory.name: version for version in versions(home, current)}


def test_versions_are_told_apart(two: tuple[Catalog, Path, Path], home: Path) -> None:
    _, old, new = two
    remains = model_root(home, "m") / ".0123456789abcdef.killed"
    remains.mkdir()
    (remains / "model.onnx.data").write_bytes(bytes(1000))
    found = listed(home, new)
    assert {name: version.state for name, version in found.items()} == {
        old.name: "old", new.name: "current", remains.name: "remains"
    }  # fmt: skip
    assert found[remains.name].size == 1000
    assert found[new.name].size == sum(path.stat().st_size for path in new.iterdir())
    assert {version.model for version in found.values()} == {"m"}
    assert not any(version.used for version in found.values())


def test_an_empty_home_has_none(home: Path) -> None:
    assert versions(home, []) == []


def test_the_table_and_pruning(two: tuple[Catalog, Path, Path], command: Command, home: Path) -> None:
    opened, old, new = two
    (model_root(home, "m") / ".0123456789abcdef.killed").mkdir()
    at = ("--models", opened.path)
    states = {row["version"]: row["state"] for row in command("cache", *at, "--json")}
    assert states == {old.name: "old", new.name: "current", ".0123456789abcdef.killed": "remains"}
    assert "current" in command("cache", *at)
    told = command("cache", "prune", "--dry-run", *at)
    assert "would be removed" in told
    assert old.is_dir()
    rows = command("cache", "prune", *at, "--json")
    assert {row["version"]: row["removed"] for row in rows} == {old.name: True, ".0123456789abcdef.killed": True}
    assert sorted(path.name for path in old.parent.iterdir()) == [LOCK_FILE, new.name]
    assert "0.0 MiB freed" in command("cache", "prune", *at)


def test_the_current_version_of_every_model_stays(two: tuple[Catalog, Path, Path], command: Command) -> None:
    opened, _, new = two
    before = {path.name: path.read_bytes() for path in new.iterdir()}
    command("cache", "prune", "--models", opened.path)
    assert {path.name: path.read_bytes() for path in new.iterdir()} == before
    assert opened.preparer.find(opened.registry.find("m")) is not None


def test_a_model_that_left_the_registry_goes(two: tuple[Catalog, Path, Path], command: Command, home: Path) -> None:
    opened, _, _ = two
    shutil.copytree(model_root(home, "m"), model_root(home, "org/gone"))
    told = command("cache", "prune", "--models", opened.path)
    assert "org/gone" in told
    assert [path.name for path in model_root(home, "org/gone").iterdir()] == [LOCK_FILE]


def test_a_version_that_somebody_has_loaded_stays(
    checkpoint: Path, catalog: OpenCatalog, command: Command, home: Path
) -> None:
    serving = catalog("{path: checkpoint}")
    held = serving.preparer.prepare(serving.registry.find("m")).directory
    Source(checkpoint).edit("sentence_bert_config.json", max_seq_length=32)
    (row,) = command("cache", "--models", serving.path, "--json")
    assert (row["state"], row["in_use"]) == ("old", True)
    for more in (["--dry-run"], []):
        assert "in use, kept" in command("cache", "prune", "--models", serving.path, *more)
    assert held.is_dir()
    del serving  # as the process ends
    assert not listed(home)[held.name].used


def test_a_model_that_somebody_prepares_is_left_alone(two: tuple[Catalog, Path, Path], home: Path) -> None:
    _, old, new = two
    version = listed(home, new)[old.name]
    with FileLock(old.parent / LOCK_FILE):
        assert not remove(version)
    assert old.is_dir()
    assert remove(version)
    assert not old.exists()


def test_a_removal_that_was_killed_goes_on(two: tuple[Catalog, Path, Path], home: Path) -> None:
    """It had moved the version out of sight, and deleted half of it."""
    _, old, new = two
    doomed = old.with_name(f".{old.name}.removed")
    old.rename(doomed)
    (doomed / "model.onnx").unlink()
    (half,) = [version for version in versions(home, [new]) if version.state == "remains"]
    assert remove(half)
    assert sorted(path.name for path in new.parent.iterdir()) == [LOCK_FILE, new.name]


def test_holding_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        hold(tmp_path / "absent")


def test_a_prepared_model_can_be_held_on_a_disk_that_is_read_only(two: tuple[Catalog, Path, Path]) -> None:
    opened, _, new = two
    for path in [new, *new.iterdir()]:
        path.chmod(path.stat().st_mode & 0o555)
    assert opened.preparer.prepare(opened.registry.find("m")).directory == new
    new.chmod(0o755)
