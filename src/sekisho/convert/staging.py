"""A new directory that is complete or absent, whatever happens to the process that makes it."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sekisho.convert.sealing import sync_directory
from sekisho.errors import ConversionFailed, StorageFull

if sys.platform != "win32":
    import fcntl

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}

#: Ends the name of the directory beside the target in which it is made. No person names one so.
_SUFFIX = ".sekisho-converting"


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """An empty directory beside `target`, which becomes `target` in one step when the block ends well.

    Nobody else works in it: it is locked by a lock that dies with its holder, and being its own lock file, it leaves
    none behind. What a killed process left in it is cleared away by the next one with the same target.

    Raises ConversionFailed where `target` exists or another process is making it, StorageFull where the disk is full
    or may not be written.
    """
    with _storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staging, handle = _own(target)
        try:
            _check_absent(target)
            yield staging
            staging.rename(target)
            sync_directory(target.parent)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        finally:
            if handle is not None:
                os.close(handle)


def _check_absent(target: Path) -> None:
    if target.exists():
        raise ConversionFailed(f"{target} exists already: name a directory to make")


def _own(target: Path) -> tuple[Path, int | None]:
    """The directory, and the descriptor that keeps it ours.

    Where the system cannot lock it, on Windows and on some network file systems, it gets a name of its own instead.
    """
    _check_absent(target)
    path = target.with_name(f".{target.name}{_SUFFIX}")
    if sys.platform != "win32":
        while True:
            with suppress(FileExistsError):  # not `exist_ok`, which looks again, when its owner may have moved it
                path.mkdir()
            try:
                handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:  # its owner has just moved it to its place
                continue
            if not _lock(handle, target):
                os.close(handle)
                break
            if _is_still(path, handle):
                _clear(path)
                return path, handle
            os.close(handle)
    return Path(tempfile.mkdtemp(prefix=path.name + ".", dir=path.parent)), None


def _lock(handle: int, target: Path) -> bool:
    """False where the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ConversionFailed(
            f"another process is making {target} at this moment: wait for it, or name another directory"
        ) from None
    except OSError:
        return False
    return True


def _is_still(path: Path, handle: int) -> bool:
    """Whether the directory that was locked is the one of that name: another owner may have moved it meanwhile."""
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(handle))
    except FileNotFoundError:
        return False


def _clear(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def _storage_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise StorageFull(
                f"The disk filled up while {target} was being made: make room, or name a directory on a larger disk. "
                "Nothing half-made is left behind"
            ) from error
        if error.errno in NO_ACCESS and _concerns(error, target.parent):
            raise StorageFull(
                f"{error.filename} cannot be written ({error.strerror}): name a directory that this user may make"
            ) from error
        raise


def _concerns(error: OSError, directory: Path) -> bool:
    """Whether it is about a file where we write, or above it, and not about one that is read."""
    if not isinstance(error.filename, str | os.PathLike):
        return False
    path = Path(error.filename)
    return path.is_relative_to(directory) or directory.is_relative_to(path)
