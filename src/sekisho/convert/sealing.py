"""Proof that a file is the one that was written, apart from the converter: the serving side names it too."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sekisho.contract import CONTRACT_FILE, Contract

_CHUNK_BYTES = 1 << 20


def sha256_of(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Hex digest of a file; `progress` is told the bytes of each chunk read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            if progress is not None:
                progress(len(chunk))
    return digest.hexdigest()


def seal(directory: Path) -> Contract:
    """Write the digests of the prepared files into their contract, and everything to the disk."""
    contract = Contract.read(directory)
    names = sorted(path.name for path in directory.iterdir() if path.name != CONTRACT_FILE)
    sealed = replace(contract, files={name: sha256_of(directory / name) for name in names})
    sealed.write(directory)
    for path in directory.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return sealed


def sync_directory(directory: Path) -> None:
    """Write to the disk which names the directory holds."""
    if sys.platform == "win32":  # which opens no directories
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
