"""models.lock: generated, read strictly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.catalog.lockfile import Lock, LockedModel, Pin, dump_lock, load_lock, lock_path
from sekisho.errors import RegistryInvalid
from tests.conftest import REPOSITORY

DIGEST = "a" * 64
REVISION = "0" * 40


def written(path: str = "config.json", **changes: object) -> str:
    pin = {"size": 3, "sha256": DIGEST} | changes
    return json.dumps({"version": 1, "models": {"m": {"revision": REVISION, "files": {path: pin}}}})


def load(tmp_path: Path, text: str | bytes) -> Lock:
    path = tmp_path / "models.lock"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_lock(path)


def test_what_is_dumped_is_read_again_sorted_with_a_file_a_line(tmp_path: Path) -> None:
    pin = Pin(size=1, sha256=DIGEST)
    files = dict.fromkeys(("tokenizer.json", "1_Pooling/config.json", "config.json"), pin)
    lock = Lock(models={"z": LockedModel(files=files), "a": LockedModel(revision=REVISION, files=files)})
    text = dump_lock(lock)
    assert load(tmp_path, text) == lock
    assert text.index('"a"') < text.index('"z"')
    lines = [line.strip() for line in text.splitlines() if "sha256" in line]
    assert len(lines) == 6
    assert [line.split('"')[1] for line in lines[:3]] == sorted(files)


def test_the_shipped_lock_is_as_the_command_would_write_it() -> None:
    path = REPOSITORY / "models.lock"
    assert dump_lock(load_lock(path)) == path.read_text("utf-8")


def test_an_absent_lock_pins_nothing(tmp_path: Path) -> None:
    assert load_lock(tmp_path / "models.lock") == Lock()


def test_an_empty_lock_is_written_and_read(tmp_path: Path) -> None:
    assert load(tmp_path, dump_lock(Lock())) == Lock()


def test_it_lies_beside_its_registry() -> None:
    assert lock_path(Path("somewhere/mine.yaml")) == Path("somewhere/mine.lock")


@pytest.mark.parametrize(
    "path",
    ["../models.yaml", "a/../../b", "/etc/passwd", "a//b", "./a", "a/.", "", "..", "a\\..\\b", "C:\\x", "a b", "a\x00b",
     "~/x\n", "a\n", "é"],
)  # fmt: skip
def test_a_name_that_leaves_its_model_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(RegistryInvalid, match=r"models\.lock: models\.m\.files"):
        load(tmp_path, written(path))


@pytest.mark.parametrize("path", ["config.json", "1_Pooling/config.json", "onnx/model_q4.onnx", "a..b"])
def test_a_name_that_stays_inside_is_read(tmp_path: Path, path: str) -> None:
    assert list(load(tmp_path, written(path)).models["m"].files) == [path]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (written(sha256="A" * 64), "sha256"),
        (written(sha256=DIGEST + "\n"), "sha256"),
        (written(sha256=DIGEST[1:]), "sha256"),
        (written(size=-1), "size"),
        (written(size="many"), "size"),
        (written(extra=1), "extra"),
        (written().replace(REVISION, "main"), "revision"),
        (written().replace('"version": 1', '"version": 2'), "version"),
        ('{"version": 1, "models": {"m": {"files": {}}}}', "files"),
        ('{"version": 1, "models": []}', "models"),
        ("[]", "document"),
        ("", "document"),
        (written()[:-1], "document"),
        (b"\xff\xfe", "utf-8"),
    ],
)
def test_a_wrong_lock_says_where_and_how_to_write_it_anew(tmp_path: Path, text: str | bytes, where: str) -> None:
    with pytest.raises(RegistryInvalid) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "models.lock"))
    assert where in message
    assert "sekisho lock" in message
    assert "\n" not in message


def test_a_lock_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "models.lock").mkdir()
    with pytest.raises(RegistryInvalid, match="directory"):
        load_lock(tmp_path / "models.lock")


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: written(path=text).encode()))
def test_arbitrary_bytes_are_refused_or_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    try:
        lock = load(tmp_path_factory.getbasetemp(), data)
    except RegistryInvalid:
        return
    root = Path("/models/m")
    for name in (name for model in lock.models.values() for name in model.files):
        assert (root / name).resolve().is_relative_to(root)
