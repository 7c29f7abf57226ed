"""Memory that a mapped file takes in this process."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

#: From <bits/mman-linux.h>.
_MADV_DONTNEED = 4


def let_go(path: Path) -> None:
    """Give back the pages of a file that somebody in this process has mapped to read; what is read again returns.

    They come back from the system's cache of the file, or from the disk. Linux alone; elsewhere nothing is done.
    """
    if sys.platform != "linux":
        return
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for start, end in _read_only(path):
        advise(start, end - start, _MADV_DONTNEED)  # if it is refused, the pages stay


def _read_only(path: Path) -> list[tuple[int, int]]:
    """Where the file is mapped. What may be written stays: of a private mapping the changes would be lost."""
    found = []
    for line in Path("/proc/self/maps").read_text("utf-8", "surrogateescape").splitlines():
        addresses, permissions, *_, mapped = line.split(maxsplit=5)
        if mapped == str(path) and "w" not in permissions:
            start, end = (int(address, 16) for address in addresses.split("-"))
            found.append((start, end))
    return found
