"""Prepared directories: complete or absent, made once, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sekisho.assemble import Catalog
from sekisho.catalog.prepare import Prepared
from sekisho.contract import CONTRACT_FILE, GRAPH_FILE, TOKENIZER_FILE, WEIGHTS_FILE
from sekisho.convert import version
from sekisho.errors import ConversionFailed, StorageFull
from tests.catalog.conftest import OpenCatalog, lock_as_it_is
from tests.conftest import REPOSITORY, WriteRegistry
from tests.convert.conftest import Source

FILES = {CONTRACT_FILE, GRAPH_FILE, WEIGHTS_FILE, TOKENIZER_FILE}
SOURCE = "{path: checkpoint}"


@pytest.fixture
def opened(checkpoint: Path, catalog: OpenCatalog) -> Catalog:
    assert checkpoint.is_dir()
    return catalog(SOURCE)


def prepare(opened: Catalog) -> Prepared:
    return opened.preparer.prepare(opened.registry.find("m"))


def find(opened: Catalog) -> Prepared | None:
    return opened.preparer.find(opened.registry.find("m"))


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def made_at(prepared: Prepared) -> int:
    return (prepared.directory / CONTRACT_FILE).stat().st_mtime_ns


def test_a_model_is_prepared_once_and_found_after(opened: Catalog, home: Path) -> None:
    assert find(opened) is None
    assert names(home) == set(), "looking makes nothing"
    made = prepare(opened)
    assert names(made.directory) == FILES
    assert names(made.directory.parent) == {made.directory.name, ".lock"}
    assert made.directory.is_relative_to(home)
    assert made.seconds > 0
    again = prepare(opened)
    assert made_at(again) == made_at(made)
    assert again.contract == made.contract
    found = find(opened)
    assert found is not None
    assert found.directory == made.directory


def test_the_contract_vouches_for_every_file(opened: Catalog) -> None:
    made = prepare(opened)
    assert set(made.contract.files) == FILES - {CONTRACT_FILE}


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "empty"])
@pytest.mark.parametrize("name", sorted(FILES))
def test_a_damaged_prepared_file_is_made_anew(opened: Catalog, name: str, damage: str) -> None:
    made = prepare(opened)
    before, good = made_at(made), (made.directory / name).read_bytes()
    path = made.directory / name
    if damage == "flip":
        path.write_bytes(good[: len(good) // 2] + bytes([good[len(good) // 2] ^ 1]) + good[len(good) // 2 + 1 :])
    elif damage == "remove":
        path.unlink()
    else:
        os.truncate(path, len(good) - 2 if damage == "truncate" else 0)
    assert find(opened) is None
    healed = prepare(opened)
    assert made_at(healed) != before
    assert (healed.directory / name).read_bytes() == good
    assert names(made.directory.parent) == {made.directory.name, ".lock"}


@pytest.mark.parametrize(
    "change", [{"max_tokens": 9999}, {"width": 3}, {"files": {}}, {"version": 0}, {"pooling": "cls"}, {"new": 1}]
)
def test_an_edited_contract_is_not_believed(opened: Catalog, change: dict[str, Any]) -> None:
    path = prepare(opened).directory / CONTRACT_FILE
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
    assert find(opened) is None


@pytest.mark.parametrize("text", ["[]", "null", "{}", '"x"', "\x00"])
def test_a_contract_that_is_none(opened: Catalog, text: str) -> None:
    made = prepare(opened)
    (made.directory / CONTRACT_FILE).write_text(text, "utf-8")
    assert find(opened) is None
    assert prepare(opened).contract == made.contract


CHOICES = ["normalize: false", "pooling: cls", "max_tokens: 20", "dimensions: 24", "family: bert"]


@pytest.mark.parametrize("choice", CHOICES)
def test_another_choice_is_another_directory(opened: Catalog, catalog: OpenCatalog, choice: str) -> None:
    first = prepare(opened)
    other = prepare(catalog(SOURCE, f"    {choice}\n"))
    assert other.directory != first.directory
    assert first.directory.is_dir()


def test_what_does_not_change_the_graph_does_not_prepare_anew(opened: Catalog, catalog: OpenCatalog) -> None:
    first = prepare(opened)
    same = 'keep_alive: 1m\n    prompts: {query: "q"}\n    aliases: [other]\n    precision: fp32'
    assert made_at(prepare(catalog(SOURCE, f"    {same}\n"))) == made_at(first)


def test_other_bytes_are_another_directory(opened: Catalog, checkpoint: Path) -> None:
    first = prepare(opened)
    Source(checkpoint).edit("sentence_bert_config.json", max_seq_length=32)
    second = prepare(opened)
    assert second.directory != first.directory
    assert (first.contract.max_tokens, second.contract.max_tokens) == (64, 32)


def test_another_converter_is_another_directory(opened: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(opened)
    monkeypatch.setattr("sekisho.catalog.prepare.CONVERTER_VERSION", version.CONVERTER_VERSION + 1)
    assert find(opened) is None
    assert prepare(opened).directory != first.directory


def test_a_lock_pins_what_is_prepared(opened: Catalog, catalog: OpenCatalog, checkpoint: Path) -> None:
    """With a lock the key is the lock's, so a prepared model is found without its sources."""
    lock_as_it_is(opened)
    locked = catalog(SOURCE)
    made = prepare(locked)
    shutil.rmtree(checkpoint)
    found = find(locked)
    assert found is not None
    assert made_at(found) == made_at(made)


def test_a_checkpoint_that_cannot_be_converted_leaves_nothing(opened: Catalog, checkpoint: Path, home: Path) -> None:
    Source(checkpoint).edit("config.json", hidden_act="mish")
    with pytest.raises(ConversionFailed, match="'mish'"):
        prepare(opened)
    assert names(home / "models" / "m") == {".lock"}


def test_remains_of_another_version_are_cleared_too(opened: Catalog, home: Path) -> None:
    remains = home / "models" / "m" / ".0123456789abcdef.killed"
    (remains / ".source").mkdir(parents=True)
    (remains / WEIGHTS_FILE).write_bytes(b"half")
    prepare(opened)
    assert not remains.exists()


def test_an_interruption_leaves_nothing(opened: Catalog, home: Path) -> None:
    def interrupt(step: str, done: int, size: int) -> None:
        if step == "convert" and done > size / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened.preparer.prepare(opened.registry.find("m"), interrupt)
    assert names(home / "models" / "m") == {".lock"}
    assert names(prepare(opened).directory) == FILES


def test_threads_of_one_process_wait_for_each_other(opened: Catalog) -> None:
    spec, met = opened.registry.find("m"), threading.Barrier(4)
    converted: list[int] = []

    def progress(step: str, done: int, size: int) -> None:
        if step == "convert" and done == size:
            converted.append(threading.get_ident())
            time.sleep(0.1)

    def work(_: int) -> Prepared:
        met.wait()
        return opened.preparer.prepare(spec, progress)

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(work, range(4)))
    assert len({made_at(result) for result in results}) == 1
    assert len(set(converted)) == 1


def test_steps_are_told(opened: Catalog) -> None:
    told: list[str] = []
    opened.preparer.prepare(opened.registry.find("m"), lambda step, done, size: told.append(step))
    steps = list(dict.fromkeys(told))
    assert steps[0] == "verify config.json"
    assert "verify model.safetensors" in steps
    assert steps[-1] == "convert"


@pytest.fixture
def alone(checkpoint: Path, write_registry: WriteRegistry, home: Path) -> Any:
    """Runs tests.catalog.preparing in a process of its own."""
    assert checkpoint.is_dir()
    path = write_registry(f"version: 1\nmodels:\n  - name: m\n    source: {SOURCE}\n")

    def run(*arguments: object) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "tests.catalog.preparing", *map(str, arguments)],
            env={"SEKISHO_MODELS": str(path), "SEKISHO_HOME": str(home), "SEKISHO_OFFLINE": "1"},
            cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_a_killed_preparation_is_absent_or_complete_and_heals(alone: Any) -> None:
    half_made: list[dict[str, Any]] = []
    for _ in range(4):  # where a machine is busy most kills come before or after the moments that matter
        told = alone("killed", 24)
        target, moments = told["target"], told["moments"]
        for moment in moments:
            assert moment["whole_if_there"], moment
            assert moment["found"] == (target in moment["left"]), moment
            assert moment["healed"], moment
            assert moment["after"] == [".lock", target], moment
        half_made += [moment for moment in moments if any(name.startswith(f".{target}.") for name in moment["left"])]
        if len(half_made) >= 3:
            break
    assert len(half_made) >= 3, "too few of the kills came while files were written"
    assert all(moment["killed"] for moment in half_made)


def test_of_several_processes_one_converts(alone: Any) -> None:
    told = alone("together", 3)
    assert told["statuses"] == [0, 0, 0]
    assert told["converted"] == 1
    assert len(told["after"]) == 2


@pytest.mark.parametrize("limit", [100, 30_000])
def test_a_file_that_may_not_grow_is_a_full_disk(alone: Any, limit: int) -> None:
    """The first limit stops the contract or the graph, the second the weights."""
    told = alone("limited", limit)
    assert told["error"] == "StorageFull"
    assert "'m'" in told["message"]
    assert "SEKISHO_HOME" in told["message"]
    assert told["left"] == [".lock"]
    assert len(told["after"]) == 2


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 4 MiB, apart from pytest's directory, where a mount left by a killed run would be in the way."""
    directory = Path(tempfile.mkdtemp(prefix="sekisho-disk-"))
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        directory.rmdir()
        pytest.skip("no file system can be mounted here")
    yield directory
    # Lazily: what was prepared there is held until its catalogue is gone.
    subprocess.run(["umount", "--lazy", str(directory)], check=True)
    directory.rmdir()


def fill(directory: Path, leave: int = 0) -> Path:
    ballast = directory / "ballast"
    with ballast.open("ab", buffering=0) as file:
        statistics = os.statvfs(directory)
        free = statistics.f_bavail * statistics.f_frsize - leave
        while free > 0:
            try:
                free -= file.write(bytes(min(free, 65536)))
            except OSError:
                break
    return ballast


def test_a_disk_without_room_is_told_before_work_begins(
    small_disk: Path, checkpoint: Path, catalog: OpenCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = on_disk(small_disk, checkpoint, catalog, monkeypatch)
    ballast = fill(small_disk, leave=8192)
    with pytest.raises(
        StorageFull, match=r"'m' needs 1 MiB of cache and 0 MiB are free: make room, or point SEKISHO_HOME"
    ):
        prepare(opened)
    assert names(small_disk / "models" / "m") == {".lock"}
    ballast.unlink()
    assert names(prepare(opened).directory) == FILES


def test_a_disk_with_no_byte_left(
    small_disk: Path, checkpoint: Path, catalog: OpenCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = on_disk(small_disk, checkpoint, catalog, monkeypatch)
    ballast = fill(small_disk)
    with pytest.raises(StorageFull, match="SEKISHO_HOME"):
        prepare(opened)
    ballast.unlink()
    assert names(prepare(opened).directory) == FILES


@pytest.mark.parametrize("moment", [0.0, 0.4, 1.0])
def test_a_disk_that_fills_up_meanwhile(
    small_disk: Path, checkpoint: Path, catalog: OpenCatalog, monkeypatch: pytest.MonkeyPatch, moment: float
) -> None:
    opened = on_disk(small_disk, checkpoint, catalog, monkeypatch)

    def progress(step: str, done: int, size: int) -> None:
        if step == "convert" and done >= size * moment:
            fill(small_disk)

    with pytest.raises(StorageFull, match=r"filled up while the model 'm'.*Nothing half-made is left"):
        opened.preparer.prepare(opened.registry.find("m"), progress)
    assert names(small_disk / "models" / "m") == {".lock"}
    (small_disk / "ballast").unlink()
    assert names(prepare(opened).directory) == FILES


def test_a_disk_that_is_read_only(
    small_disk: Path, checkpoint: Path, catalog: OpenCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = on_disk(small_disk, checkpoint, catalog, monkeypatch)
    made = prepare(opened)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert made_at(prepare(opened)) == made_at(made), "a prepared model needs no writing"
    Source(checkpoint).edit("sentence_bert_config.json", max_seq_length=32)
    with pytest.raises(StorageFull, match="cannot be written: set SEKISHO_HOME"):
        prepare(opened)


def on_disk(disk: Path, checkpoint: Path, catalog: OpenCatalog, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """A catalogue whose home is that disk."""
    assert checkpoint.is_dir()
    held = catalog(SOURCE)
    monkeypatch.setattr(held.preparer, "_home", disk)
    return held


def test_a_home_that_is_a_file(checkpoint: Path, catalog: OpenCatalog, home: Path) -> None:
    assert checkpoint.is_dir()
    home.rmdir()
    home.write_text("in the way")
    with pytest.raises(StorageFull, match="cannot be written: set SEKISHO_HOME"):
        prepare(catalog(SOURCE))
    home.unlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_home_that_this_user_may_not_write(opened: Catalog, home: Path) -> None:
    home.chmod(0o500)
    try:
        with pytest.raises(StorageFull, match="cannot be written: set SEKISHO_HOME"):
            prepare(opened)
    finally:
        home.chmod(0o700)
