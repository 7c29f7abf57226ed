"""The files of a model: where they can be had, and proof that they are the pinned ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sekisho.catalog.hub import Check, Hub, check_git
from sekisho.catalog.lockfile import LockedModel, Pin
from sekisho.catalog.places import OwnFiles, Place, places
from sekisho.catalog.registry import Spec
from sekisho.catalog.variants import GraphChoice, Processor, choose_graph
from sekisho.catalog.wanted import WEIGHTS, graphs, lacking, lockable, pickles, unchosen, wanted
from sekisho.convert.sealing import sha256_of
from sekisho.errors import ArtifactRefused, ModelUnpinned, NotReady, SekishoError, SourceUnreachable, StorageFull

#: Told the step (`fetch FILE`, `verify FILE`), the bytes done and the file's size.
Progress = Callable[[str, int, int], None]


class Artifacts:
    """Finds, fetches and verifies files. Each stays where it is, and the digest decides."""

    def __init__(self, directory: Path, *, offline: bool, processor: Callable[[], Processor] = Processor) -> None:
        """`directory`: where relative paths in the registry start. `offline`: make no network call.

        processor: what ready-made variants are chosen by; asked only where there are any.
        """
        self._directory = directory
        self._offline = offline
        self._processor = processor

    def graph(self, spec: Spec) -> GraphChoice:
        """What the model's graph comes from on this machine."""
        return choose_graph(spec, self._processor)

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
        """What each file this machine needs must be: the lock's word; of local files that nobody locked, what they are
        now.
        """
        _check_local(spec)
        if locked is not None and spec.pinned and (spec.source.hub is None or locked.revision == spec.source.revision):
            names = self._of_this_machine(spec, list(locked.files), "models.lock")
            return {name: locked.files[name] for name in names}
        if spec.source.hub is None:
            place = next(self._places(spec))
            return _hashed(place, self._of_this_machine(spec, _needed(spec, place), place.label))
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
        place = next(self._places(spec))
        return LockedModel(files=_hashed(place, _needed(spec, place), progress))

    def _of_this_machine(self, spec: Spec, names: list[str], where: str) -> list[str]:
        """Of the files that any machine might need, those of the graph that this one has. Raises ArtifactRefused."""
        choice = self.graph(spec)
        if isinstance(spec.source, OwnFiles):
            return names
        if choice.onnx is None:
            left = unchosen(names, spec, None)
            names = [name for name in names if name not in left]
            if spec.variants and lacking(names) == WEIGHTS:
                raise ArtifactRefused(
                    f"The model {spec.name!r} has no weights in {where} that int8 could be made from, and "
                    f"{choice.reason.partition(':')[0]}: it does not run on this machine"
                )
            return names
        if choice.onnx not in names:
            raise ArtifactRefused(
                f"{choice.onnx} of the model {spec.name!r} is not in {where}: lock it anew with "
                f"`sekisho lock {spec.name}` ({choice.reason})"
            )
        return wanted(names, spec, onnx=choice.onnx)

    def _lock_hub(self, spec: Spec, hub: Hub, progress: Progress | None) -> LockedModel:
        """Large files by the digests that the hub lists; plain ones it lists none of are fetched and hashed."""
        commit = hub.commit()
        pinned = Hub(hub.repository, commit.revision, offline=self._offline)
        pins: dict[str, Pin] = {}
        for name in _required(spec, list(commit.files), f"hub {hub.repository}"):
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
        for place in sorted(self._places(spec), key=lambda place: place.hub is not None):
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

    def _places(self, spec: Spec) -> Iterator[Place]:
        return places(spec.source, self._directory, offline=self._offline)


def _check_local(spec: Spec) -> None:
    if spec.upstream is not None:
        error = NotReady(f"The model {spec.name!r} runs at another service: it has no files here")
        error.permanent = True
        raise error


def _needed(spec: Spec, place: Place) -> list[str]:
    """The files of a local place that any machine might need."""
    names = list(place.listing())
    return names if isinstance(spec.source, OwnFiles) else _required(spec, names, place.label)


def _required(spec: Spec, listing: list[str], label: str) -> list[str]:
    names = lockable(listing, spec)
    missing = lacking(names, onnx=spec.onnx)
    if missing == WEIGHTS and spec.variants and spec.precision == "int8":
        missing = None
    missing = missing or next((graph for graph in graphs(spec) if graph not in names), None)
    if missing is None:
        return names
    never = pickles(listing)
    raise ArtifactRefused(
        f"{missing} of the model {spec.name!r} is not in {label}"
        + (f"; {', '.join(never)} would run code when read and is never loaded" if never else "")
        + ("; `precision: int8` takes its ready-made variants" if missing == WEIGHTS and spec.variants else "")
    )


def _hashed(place: Place, names: list[str], progress: Progress | None = None) -> dict[str, Pin]:
    pins: dict[str, Pin] = {}
    for name in names:
        path = place.find(name)
        if path is not None:
            size = path.stat().st_size
            pins[name] = Pin(size=size, sha256=sha256_of(path, _tell(progress, f"hash {name}", size)))
    return pins


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
