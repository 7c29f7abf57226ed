"""`convert_directory`'s target is complete or absent: after kills, beside other conversions, on disks that fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sekisho.contract import CONTRACT_FILE, Contract
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from sekisho.convert.sealing import sha256_of
from sekisho.convert.staging import new_directory
from sekisho.errors import ConversionFailed, StorageFull
from tests.checkpoints import write_tiny_bert
from tests.conftest import REPOSITORY
from tests.goldens_io import tiny_spec

#: Arguments: source, target, the share of the bytes after which it kills itself.
_KILLED = """
import os, signal, sys
from pathlib import Path
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices

source, target, share = sys.argv[1:]

def progress(done, size):
    if done >= float(share) * size:
        os.kill(os.getpid(), signal.SIGKILL)

convert_directory(Path(source), Path(target), Choices(), progress)
"""

#: Arguments: source, target, the size in bytes beyond which no file may grow.
_LIMITED = """
import resource, signal, sys
from pathlib import Path
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices

source, target, limit = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    convert_directory(Path(source), Path(target), Choices())
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_tiny_bert(tiny_spec("tiny-bert-max"), tmp_path / "checkpoint")


def alone(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def is_whole(directory: Path) -> bool:
    files = Contract.read(directory).files
    there = {path.name: sha256_of(path) for path in directory.iterdir() if path.name != CONTRACT_FILE}
    return there == files


def test_the_contract_vouches_for_every_file(checkpoint: Path, tmp_path: Path) -> None:
    contract = convert_directory(checkpoint, tmp_path / "made", Choices())
    assert is_whole(tmp_path / "made")
    assert contract == Contract.read(tmp_path / "made")
    assert contract.files


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_what_a_kill_left_is_gone_after_the_next_call(checkpoint: Path, tmp_path: Path, share: float) -> None:
    place = tmp_path / "place"
    assert alone(_KILLED, checkpoint, place / "made", share).returncode == -signal.SIGKILL
    assert len(names(place)) == 1, "the kill came too early or too late"
    assert "made" not in names(place)
    convert_directory(checkpoint, place / "made", Choices())
    assert names(place) == ["made"]
    assert is_whole(place / "made")


def test_another_running_conversion_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    with new_directory(place / "made") as staging:
        (staging / "half").write_text("made")
        with pytest.raises(ConversionFailed, match=r"another process is making .*made.*wait for it"):
            convert_directory(checkpoint, place / "made", Choices())
        convert_directory(checkpoint, place / "other", Choices())
        assert (staging / "half").read_text() == "made"
    assert names(place) == ["made", "other"]
    assert names(place / "made") == ["half"]


def test_of_many_at_once_one_makes_it(tmp_path: Path) -> None:
    def make(target: Path, number: int) -> bool:
        try:
            with new_directory(target) as staging:
                assert names(staging) == []
                (staging / "maker").write_text(str(number))
        except ConversionFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        for round_ in range(60):
            target = tmp_path / "place" / str(round_)
            made = [*threads.map(make, [target] * 8, range(8))]
            assert made.count(True) == 1
            assert (target / "maker").read_text() == str(made.index(True))
    assert len(names(tmp_path / "place")) == 60


def test_it_may_be_read_as_any_new_directory(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with new_directory(tmp_path / "made"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("limit", [100, 30_000])
def test_a_disk_that_fills_up_is_told_in_one_line(checkpoint: Path, tmp_path: Path, limit: int) -> None:
    """The first limit stops the graph, the second the weights."""
    place = tmp_path / "place"
    ended = alone(_LIMITED, checkpoint, place / "made", limit)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"StorageFull: The disk filled up while {place / 'made'} was being made: make room")
    assert names(place) == []


def test_a_place_that_may_not_be_written_is_named(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(StorageFull, match=r"file.* cannot be written .*name a directory that this user may make"):
        convert_directory(checkpoint, tmp_path / "file" / "made", Choices())
    assert (tmp_path / "file").read_text() == "precious"


def test_a_source_that_cannot_be_read_is_no_full_disk(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "tokenizer.json").mkdir()
    with pytest.raises((ConversionFailed, OSError)) as caught:
        convert_directory(checkpoint, tmp_path / "made", Choices())
    assert not isinstance(caught.value, StorageFull)
