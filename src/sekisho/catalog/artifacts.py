"""The files of a model: where they can be had, and proof that they are the pinned ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from sekisho.catalog.hub import Check, Hub, check_git
from sekisho.catalog.lockfile import LockedModel, Pin
from sekisho.catalog.registry import Source, Spec
from sekisho.catalog.wanted import graphs, lacking, lockable, pickles, unchosen
from sekisho.errors import ArtifactRefused, ModelUnpinned, NotReady, SekishoError, SourceUnreachable, StorageFull

#: Told the step (`fetch FILE`, `verify FILE`), the bytes done and the file's size.
Progress = Callable[[str, int, int], None]

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Place:
    """Somewhere on this machine that a file may be. `find` gives its path, None where it is not there.

    hub: where the file comes from if the place is the local cache of one.
    """

    label: str
    find: Callable[[str], Path | None]
    listing: Callable[[], Iterable[str]]
    hub: Hub | None = None


def sha256_of(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Hex digest of a file; `progress` is told the bytes of each chunk read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            if progress is not None:
                progress(len(chunk))
    return digest.hexdigest()


class Artifacts:
    """Finds, fetches and verifies files. Each stays where it is, and the digest decides."""

    def __init__(self, directory: Path, *, offline: bool) -> None:
        """`directory`: where relative paths in the registry start. `offline`: make no network call."""
        self._directory = directory
        self._offline = offline

    def verified(
        self, spec: Spec, locked: LockedModel | None, progress: Progress | None = None, *, fetch: bool = True
    ) -> dict[str, Path]:
        """Relative name → path of every file of the model, each with the pinned digest.

        fetch: take what is not on this machine from the hub.
        Raises ModelUnpinned, ArtifactRefused (names file and place), SourceUnreachable, StorageFull.
        """
        pins = self.pins(spec, locked)
        return {name: self._verified_file(spec, name, pin, progress, fetch=fetch) for name, pin in pins.items()}

    def pins(self, spec: Spec, locked: LockedModel | None) -> Mapping[str, Pin]:
        """What each file must be: the lock's word; for a local directory that nobody locked, its present bytes."""
        _check_local(spec)
        if locked is not None and spec.pinned and (spec.source.hub is None or locked.revision == spec.source.revision):
            # Ready-made graphs are not run yet: each machine converts the weights, so none of the variants is fetched.
            left = unchosen(locked.files, spec, None) if spec.onnx is None else set()
            return {name: pin for name, pin in locked.files.items() if name not in left}
        if spec.source.hub is None:
            return self.measure(spec)
        raise ModelUnpinned(
            f"The model {spec.name!r} is not pinned, so none of its files may be loaded. "
            f"Pin it: `sekisho lock {spec.name}`"
            + ("" if spec.pinned else ", with a full commit as `revision` in models.yaml")
        )

    def measure(self, spec: Spec, progress: Progress | None = None) -> dict[str, Pin]:
        """Size and sha256 of the wanted files as the model's own source has them now."""
        return dict(self.lock(spec, progress=progress).files)

    def lock(self, spec: Spec, revision: str | None = None, progress: Progress | None = None) -> LockedModel:
        """The pins of the model's own source. `revision`: a branch, tag or commit in place of the registry's."""
        _check_local(spec)
        if spec.source.hub is not None:
            return self._lock_hub(
                spec, Hub(spec.source.hub, revision or spec.source.revision, offline=self._offline), progress
            )
        place = next(self._places(spec.source))
        pins: dict[str, Pin] = {}
        for name in _needed(spec, list(place.listing()), place.label):
            path = place.find(name)
            if path is not None:
                size = path.stat().st_size
                pins[name] = Pin(size=size, sha256=sha256_of(path, _tell(progress, f"hash {name}", size)))
        return LockedModel(files=pins)

    def _lock_hub(self, spec: Spec, hub: Hub, progress: Progress | None) -> LockedModel:
        """Large files by the digests that the hub lists; plain ones it lists none of are fetched and hashed."""
        commit = hub.commit()
        pinned = Hub(hub.repository, commit.revision, offline=self._offline)
        pins: dict[str, Pin] = {}
        for name in _needed(spec, list(commit.files), f"hub {hub.repository}"):
            listed = commit.files[name]
            if listed.sha256 is not None and listed.size is not None:
                pins[name] = Pin(size=listed.size, sha256=listed.sha256)
                continue
            check = check_git(listed.git_oid)
            path = pinned.cached(name)
            if path is None or check(path) is not None:
                path = pinned.fetch(name, listed.size, check, _step(progress, f"fetch {name}"))
            pins[name] = Pin(size=path.stat().st_size, sha256=sha256_of(path))
        return LockedModel(revision=commit.revision, files=pins)

    def _verified_file(self, spec: Spec, name: str, pin: Pin, progress: Progress | None, *, fetch: bool) -> Path:
        """Local places before the network; a damaged copy in the hub's cache is fetched anew."""
        refusals: list[str] = []
        misses: list[str] = []
        for place in sorted(self._places(spec.source), key=lambda place: place.hub is not None):
            try:
                path = place.find(name)
                if path is not None:
                    problem = _problem(path, pin, _tell(progress, f"verify {name}", pin.size))
                    if problem is None:
                        return path
                    refusals.append(f"{place.label}: {problem}")
                if place.hub is not None and fetch and (path is None or not self._offline):
                    return place.hub.fetch(name, pin.size, _check(pin), _step(progress, f"fetch {name}"))
                if path is None:
                    misses.append(
                        f"{place.label} does not have it"
                        if place.hub is None
                        else f"{place.label}: not in the local cache"
                    )
            except ArtifactRefused as error:
                refusals.append(error.message)
            except StorageFull:
                raise
            except SekishoError as error:
                misses.append(error.message)
        if refusals:
            raise ArtifactRefused(
                f"{name} of the model {spec.name!r} was refused: {'; '.join(dict.fromkeys(refusals + misses))}. "
                "It is not the file models.lock pins: fetch it again or, if the change is meant, lock the model anew"
            )
        raise SourceUnreachable(
            f"The model {spec.name!r} could not be fetched: {name}: {'; '.join(misses)}", permanent=self._offline
        )

    def _places(self, source: Source) -> Iterator[Place]:
        """The source itself first."""
        if source.hub is not None:
            hub = Hub(source.hub, source.revision, offline=self._offline)
            yield Place(f"hub {source.hub}", hub.cached, list, hub)
        if source.package is not None:
            yield self._package(source.package, source.subdir)
        if source.path is not None:
            yield self._path(source.path)
        for mirror in source.mirrors:
            yield self._package(mirror.package, mirror.subdir) if mirror.package else self._path(mirror.path or Path())

    def _path(self, path: Path) -> Place:
        root = self._directory / path
        shown = path.name if path.is_absolute() else path  # the label goes into messages, which hold no server path
        return Place(f"path {shown}", lambda name: _inside(root, name), lambda: _names(root))

    def _package(self, package: str, subdir: str) -> Place:
        def root() -> Path | None:
            try:
                return Path(str(distribution(package).locate_file(subdir)))
            except PackageNotFoundError:
                return None

        return Place(
            f"package {package}",
            lambda name: _inside(found, name) if (found := root()) else None,
            lambda: _names(found) if (found := root()) else [],
        )


def _check_local(spec: Spec) -> None:
    if spec.upstream is not None:
        error = NotReady(f"The model {spec.name!r} runs at another service: it has no files here")
        error.permanent = True
        raise error


def _needed(spec: Spec, listing: list[str], label: str) -> list[str]:
    names = lockable(listing, spec)
    missing = lacking(names, onnx=spec.onnx) or next((graph for graph in graphs(spec) if graph not in names), None)
    if missing is None:
        return names
    never = pickles(listing)
    raise ArtifactRefused(
        f"{missing} of the model {spec.name!r} is not in {label}"
        + (f"; {', '.join(never)} would run code when read and is never loaded" if never else "")
    )


def _names(root: Path) -> Iterator[str]:
    """The files of a directory and of those directly in it: deeper a checkpoint has none."""
    for pattern in ("*", "*/*"):
        for path in root.glob(pattern):
            if path.is_file():
                yield path.relative_to(root).as_posix()


def _inside(root: Path, name: str) -> Path | None:
    path = root / name
    return path if path.is_file() else None


def _check(pin: Pin) -> Check:
    return lambda path: _problem(path, pin, None)


def _problem(path: Path, pin: Pin, progress: Callable[[int], None] | None) -> str | None:
    """Why the file is not the pinned one; None where it is."""
    try:
        size = os.stat(path).st_size
        if size != pin.size:
            return f"{size:,} bytes, the lock says {pin.size:,}"
        digest = sha256_of(path, progress)
    except OSError as error:
        return error.strerror or type(error).__name__
    return None if digest == pin.sha256 else f"sha256 {digest[:12]}…, the lock says {pin.sha256[:12]}…"


def _tell(progress: Progress | None, step: str, size: int) -> Callable[[int], None] | None:
    if progress is None:
        return None
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(step, done, size)

    return advance


def _step(progress: Progress | None, step: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, size: progress(step, done, size)
