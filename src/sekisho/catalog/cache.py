"""What lies prepared on disk: which of it is current, which is old or left behind, and which is in use."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from sekisho.contract import CONTRACT_FILE

if sys.platform != "win32":
    import fcntl

State = Literal["current", "old", "remains"]

#: Beside a model's versions; whoever makes or removes one holds it.
LOCK_FILE = ".lock"


@dataclass(frozen=True)
class Version:
    """A directory under `models`. remains: what a killed process left; used: a process has it loaded."""

    model: str
    directory: Path
    state: State
    size: int
    changed: float
    used: bool


def model_root(home: Path, name: str) -> Path:
    """Where the versions of a model lie."""
    return home / "models" / name.replace("/", "--")


def hold(directory: Path) -> int | None:
    """Mark the version as used until the descriptor is closed or the process ends, however it ends.

    None where the system has no such locks; raises OSError where there is no such version.
    """
    if sys.platform == "win32":
        return None
    handle = os.open(directory / CONTRACT_FILE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
    except OSError:  # some network file systems
        os.close(handle)
        return None
    return handle


def versions(home: Path, current: Collection[Path]) -> list[Version]:
    """Everything prepared under `home`, by model, the oldest first. `current`: what the registry leads to."""
    found = []
    for root in sorted(path for path in (home / "models").glob("*") if path.is_dir()):
        for directory in (path for path in root.iterdir() if path.is_dir()):
            remains = directory.name.startswith(".")
            state: State = "remains" if remains else "current" if directory in current else "old"
            found.append(_version(root.name.replace("--", "/"), directory, state))
    return sorted(found, key=lambda version: (version.model, version.changed))


def remove(version: Version) -> bool:
    """Take a version away; False where it is used, or where somebody is at work on the model."""
    root = version.directory.parent
    lock = FileLock(root / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    try:
        with _unused(version.directory) as unused:
            if unused:
                # Out of sight in one step: what a kill leaves of it is remains, never half a model.
                doomed = version.directory.with_name(f".{version.directory.name.lstrip('.')}.removed")
                if doomed != version.directory:
                    version.directory.rename(doomed)
                shutil.rmtree(doomed)
        return unused
    finally:
        lock.release()


def _version(model: str, directory: Path, state: State) -> Version:
    size, changed = 0, 0.0
    for path in [directory, *directory.rglob("*")]:
        try:
            facts = path.lstat()
        except FileNotFoundError:  # a preparation that goes on while we look
            continue
        changed = max(changed, facts.st_mtime)
        size += facts.st_size if path.is_file() and not path.is_symlink() else 0
    with _unused(directory) as unused:
        return Version(model, directory, state, size, changed, used=not unused)


@contextmanager
def _unused(directory: Path) -> Iterator[bool]:
    """Whether nobody holds the version; while it is so, nobody can."""
    try:
        handle = os.open(directory / CONTRACT_FILE, os.O_RDONLY)
    except OSError:
        yield True  # it cannot be loaded
        return
    unused = True
    if sys.platform != "win32":
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            unused = False
        except OSError:
            unused = True
    try:
        yield unused
    finally:
        os.close(handle)
