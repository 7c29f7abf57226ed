"""A model hub: what a commit holds, and its files, each resumed, checked, and only then put into the user's cache.

The library's own download starts anew after a kill and leaves what it had behind, so bytes are fetched with its
`http_get` into a file whose name does not change. The layout is the one that every program reading HF_HOME knows:
https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from sekisho.errors import ArtifactRefused, SekishoError, SourceUnreachable, StorageFull
from sekisho.observability import logger

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import HfFileMetadata

log = logger(__name__)

#: A download's name in the cache until its bytes are the right ones.
PARTIAL = ".sekisho.incomplete"

#: Told the bytes of the file that are here, and its size.
Progress = Callable[[int, int], None]

#: Says why a file is not the right one; None where it is.
Check = Callable[[Path], str | None]

#: Etags name files in the cache. A hub's are digests; anything else might lead out of it.
_ETAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{7,127}")
_PAUSES_SECONDS = (0.5, 1.5)
_LONGEST_WAIT_SECONDS = 15
_TIMEOUT_SECONDS = 10
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Listed:
    """A file as the hub lists it. sha256: of a large file; git_oid: of a plain one."""

    size: int | None
    sha256: str | None
    git_oid: str | None


@dataclass(frozen=True)
class Commit:
    """A revision, resolved to its full commit, and the files it holds."""

    revision: str
    files: Mapping[str, Listed]


class Hub:
    """One repository at one revision."""

    def __init__(self, repository: str, revision: str | None, *, offline: bool) -> None:
        self.repository = repository
        self.revision = revision
        self._offline = offline

    def cached(self, name: str) -> Path | None:
        """The file in the user's own cache, where another program may have put it."""
        # Slow to import, and most starts need nothing from a hub.
        from huggingface_hub import try_to_load_from_cache

        if self.revision is None:
            return None
        with self._told():
            path = try_to_load_from_cache(self.repository, name, revision=self.revision)
        return Path(path) if isinstance(path, str) else None

    def commit(self) -> Commit:
        """What the revision is now. Raises SourceUnreachable."""
        from huggingface_hub import HfApi

        self._check_online()
        with self._told():
            info = HfApi().model_info(
                self.repository, revision=self.revision or "main", files_metadata=True, timeout=_TIMEOUT_SECONDS
            )
        if info.sha is None or not re.fullmatch(r"[0-9a-f]{40}", info.sha):
            raise SourceUnreachable(f"hub {self.repository}: it names no commit for {self.revision or 'main'}")
        files = {
            file.rfilename: Listed(
                file.lfs.size if file.lfs else file.size,
                file.lfs.sha256 if file.lfs else None,
                None if file.lfs else file.blob_id,
            )
            for file in info.siblings or []
        }
        return Commit(info.sha, files)

    def fetch(self, name: str, size: int | None, check: Check, progress: Progress | None = None) -> Path:
        """Download the file, resuming what an earlier attempt left; a wrong one never reaches the cache.

        Raises ArtifactRefused, SourceUnreachable, StorageFull.
        """
        from huggingface_hub import constants, hf_hub_url

        self._check_online()
        with self._told():
            url = hf_hub_url(self.repository, name, revision=self.revision)
            offered = self._metadata(url)
            etag = self._etag(offered)
            if size is not None and offered.size not in {None, size}:
                raise ArtifactRefused(f"hub {self.repository}: {offered.size:,} bytes, the lock says {size:,}")
            folder = f"models--{self.repository.replace('/', '--')}"
            root = Path(constants.HF_HUB_CACHE) / folder
            blob, lock = root / "blobs" / etag, Path(constants.HF_HUB_CACHE) / ".locks" / folder / f"{etag}.sekisho"
            blob.parent.mkdir(parents=True, exist_ok=True)
            lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock):
                partial = blob.with_name(f"{etag}{PARTIAL}")
                # Somebody else, perhaps under another name, may have been here while we waited.
                if not (blob.is_file() and check(blob) is None):
                    self._complete(url, partial, size if size is not None else offered.size, check, progress)
                    os.replace(partial, blob)
                return _show(root, blob, self.revision or "", name)

    def _complete(self, url: str, partial: Path, size: int | None, check: Check, progress: Progress | None) -> None:
        """Fill `partial` with the right bytes, or raise. What was begun with other bytes is begun again once."""
        for resumed in (_begun(partial, size) > 0, False):
            self._download(url, partial, size, progress)
            problem = check(partial)
            if problem is None:
                return
            partial.unlink()
            if not resumed:
                raise ArtifactRefused(f"hub {self.repository}: {problem}")
            log.warning("partial_download_damaged", repository=self.repository)

    def _download(self, url: str, partial: Path, size: int | None, progress: Progress | None) -> None:
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # public, as its manual says

        begun = _begun(partial, size)
        with partial.open("ab") as file:
            try:
                # The redirect to the storage is asked for each time: its signed address does not live long. The HTTP
                # client keeps the token from other hosts.
                http_get(
                    url, file, resume_size=begun, headers=build_hf_headers(), expected_size=size,
                    displayed_filename=partial.name, tqdm_class=_bar(progress, size),
                )  # fmt: skip
            except HfHubHTTPError as error:
                if error.response.status_code == 416:  # not the file that was begun
                    file.truncate(0)
                raise
            file.flush()
            os.fsync(file.fileno())

    def _metadata(self, url: str) -> HfFileMetadata:
        """Asked before the download, which on its own repeats a failing request for half a minute and more."""
        from huggingface_hub import get_hf_file_metadata
        from huggingface_hub.errors import HfHubHTTPError

        for pause in (*_PAUSES_SECONDS, None):
            try:
                return get_hf_file_metadata(url, timeout=_TIMEOUT_SECONDS)
            except HfHubHTTPError as error:
                wait = _wait(error, pause)
                if wait is None:
                    raise
                time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _etag(self, offered: HfFileMetadata) -> str:
        if offered.etag is None or not _ETAG.fullmatch(offered.etag):
            raise SourceUnreachable(f"hub {self.repository}: it gives no usable etag, so it is no model hub")
        return offered.etag

    def _check_online(self) -> None:
        if self._offline:
            raise SourceUnreachable(
                f"hub {self.repository}: not in the local cache, and the server is offline: "
                "fetch the model once with `sekisho pull`, SEKISHO_OFFLINE unset"
            )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """The library's errors and its HTTP client's, as ours."""
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

        where = f"hub {self.repository}"
        try:
            yield
        except SekishoError:
            raise
        except EntryNotFoundError:
            raise SourceUnreachable(f"{where} does not have it") from None
        except HfHubHTTPError as error:
            problem = SourceUnreachable(f"{where}: {_advice(error)}")
            problem.retry_after_seconds = _retry_after(error) or problem.retry_after_seconds
            raise problem from error
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise StorageFull(
                    f"{where}: the disk of the hub's cache is full: make room, or point HF_HOME at a larger disk. "
                    "What is already there is kept and the download goes on from it"
                ) from error
            if error.errno is None:  # how its library says that a body had another length than announced
                raise SourceUnreachable(f"{where}: the file came with another length than announced") from error
            raise SourceUnreachable(f"{where}: {error.strerror or type(error).__name__}") from error
        except Exception as error:
            raise SourceUnreachable(
                f"{where}: not in the local cache, and the hub cannot be reached ({type(error).__name__}): "
                "the server tries again with a later request"
            ) from error


def check_git(oid: str | None) -> Check:
    """A plain file has no sha256 at the hub, but git's name for its bytes."""

    def check(path: Path) -> str | None:
        if oid is None:
            return None
        data = path.read_bytes()
        digest = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        return None if digest == oid else f"git blob {digest[:12]}…, the hub lists {oid[:12]}…"

    return check


def remove_partials(*, dry_run: bool) -> list[tuple[str, int]]:
    """(repository, bytes) of each download that was begun, not finished, and is nobody's work now."""
    from huggingface_hub import constants

    root = Path(constants.HF_HUB_CACHE)
    removed = []
    for partial in sorted(root.glob(f"models--*/blobs/*{PARTIAL}")):
        folder = partial.parents[1].name
        lock = FileLock(root / ".locks" / folder / f"{partial.name.removesuffix(PARTIAL)}.sekisho")
        try:
            with lock.acquire(timeout=0):
                removed.append((folder.removeprefix("models--").replace("--", "/"), partial.stat().st_size))
                if not dry_run:
                    partial.unlink()
        except (Timeout, FileNotFoundError):
            continue
    return removed


def _show(root: Path, blob: Path, revision: str, name: str) -> Path:
    """Make the file visible under its name in the snapshot, in one step."""
    pointer = root / "snapshots" / revision / name
    pointer.parent.mkdir(parents=True, exist_ok=True)
    fresh = pointer.with_name(f".{pointer.name}.sekisho")
    fresh.unlink(missing_ok=True)
    try:
        fresh.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:  # a file system or a user without symbolic links
        shutil.copyfile(blob, fresh)
    os.replace(fresh, pointer)
    return pointer


def _begun(partial: Path, size: int | None) -> int:
    """Bytes to go on from. Without a size, or with more bytes than that, there is nothing to go on from."""
    begun = partial.stat().st_size if partial.is_file() else 0
    if begun and (size is None or begun > size):
        partial.unlink()
        return 0
    return begun


def _bar(progress: Progress | None, size: int | None) -> Any:
    """A class in tqdm's place: the library makes one for each file and feeds it."""

    class Bar:
        def __init__(self, *, initial: int = 0, total: int | None = None, **_: object) -> None:
            self._done, self._total = initial, size or total or 0
            self.update(0)

        def update(self, count: float | None = 1) -> None:
            self._done += int(count or 0)
            if progress is not None:
                progress(self._done, self._total)

        def __enter__(self) -> Bar:
            return self

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            self.close()

        def close(self) -> None:
            """Nothing to put away."""

    return Bar


def _wait(error: HfHubHTTPError, pause: float | None) -> float | None:
    """Seconds before it is worth asking again; None where it is not, or not soon."""
    status = error.response.status_code
    if pause is None or (status != 429 and status < 500):
        return None
    told = _retry_after(error)
    if told is not None:
        return told if told <= _LONGEST_WAIT_SECONDS else None
    return None if status == 429 else pause


def _retry_after(error: HfHubHTTPError) -> int | None:
    value = error.response.headers.get("Retry-After", "")
    return int(value) if value.isdecimal() else None


def _advice(error: HfHubHTTPError) -> str:
    status = error.response.status_code
    if error.response.headers.get("X-Error-Code") == "GatedRepo":
        return (
            f"access is refused ({status}): accept the model's terms on its page at the hub, "
            "with the account of HF_TOKEN"
        )
    told = _retry_after(error)
    advice = {
        401: "it asks for a token (401): set HF_TOKEN",
        403: "access is refused (403): accept the model's terms with the account of HF_TOKEN",
        404: "no such repository or revision (404), or it is private: check models.yaml and HF_TOKEN",
        429: f"it limits our requests (429): try again {f'in {told} s' if told else 'later'}, or set HF_TOKEN",
    }
    return advice.get(status, f"it answered {status}")
