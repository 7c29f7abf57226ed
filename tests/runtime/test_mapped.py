"""Memory of mapped files: what is let go comes back, and nothing is lost."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

from sekisho.runtime.mapped import let_go

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is let go elsewhere")


def test_what_was_let_go_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a name with spaces"
    path.write_bytes(bytes(range(256)) * 4096)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        before = mapped[:]
        assert _resident(path) == path.stat().st_size
        let_go(path)
        assert _resident(path) == 0
        assert mapped[:] == before


def test_what_was_written_to_memory_alone_is_never_let_go(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.write_bytes(bytes(8192))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        mapped[:4] = b"mine"
        let_go(path)
        assert mapped[:4] == b"mine"


def _resident(path: Path) -> int:
    """Bytes of the file in this process's memory."""
    inside, found = False, 0
    for line in Path("/proc/self/smaps").read_text("utf-8").splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found
