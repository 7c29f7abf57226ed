"""Where on this machine the files of a model may be, in the order of the registry: its source, then the mirrors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from pydantic import model_validator

from sekisho.catalog.hub import Hub
from sekisho.catalog.registry import Source


class OwnFiles(Source):
    """Files that a setting names, wherever each of them lies. No registry can say this.

    files: name as in a checkpoint → path.
    """

    files: Mapping[str, Path]

    @model_validator(mode="after")
    def _one(self) -> OwnFiles:
        return self


@dataclass(frozen=True)
class Place:
    """Somewhere on this machine that a file may be. `find` gives its path, None where it is not there.

    hub: where the file comes from if the place is the local cache of one.
    """

    label: str
    find: Callable[[str], Path | None]
    listing: Callable[[], Iterable[str]]
    hub: Hub | None = None


def places(source: Source, directory: Path, *, offline: bool) -> Iterator[Place]:
    """The source itself first. `directory`: where relative paths start."""
    if isinstance(source, OwnFiles):
        yield Place("MODEL_PATH and TOKENIZER_PATH", _existing(source.files), lambda: list(source.files))
    if source.hub is not None:
        hub = Hub(source.hub, source.revision, offline=offline)
        yield Place(f"hub {source.hub}", hub.cached, list, hub)
    if source.package is not None:
        yield _package(source.package, source.subdir)
    if source.path is not None:
        yield _path(source.path, directory)
    for mirror in source.mirrors:
        if mirror.package:
            yield _package(mirror.package, mirror.subdir)
        else:
            yield _path(mirror.path or Path(), directory)


def _existing(files: Mapping[str, Path]) -> Callable[[str], Path | None]:
    return lambda name: files[name] if name in files and files[name].is_file() else None


def _path(path: Path, directory: Path) -> Place:
    root = directory / path
    shown = path.name if path.is_absolute() else path  # the label goes into messages, which hold no server path
    return Place(f"path {shown}", lambda name: _inside(root, name), lambda: names_in(root))


def _package(package: str, subdir: str) -> Place:
    def root() -> Path | None:
        try:
            return Path(str(distribution(package).locate_file(subdir)))
        except PackageNotFoundError:
            return None

    return Place(
        f"package {package}",
        lambda name: _inside(found, name) if (found := root()) else None,
        lambda: names_in(found) if (found := root()) else [],
    )


def names_in(root: Path) -> Iterator[str]:
    """The files of a directory and of those directly in it: deeper a checkpoint has none."""
    for pattern in ("*", "*/*"):
        for path in root.glob(pattern):
            if path.is_file():
                yield path.relative_to(root).as_posix()


def _inside(root: Path, name: str) -> Path | None:
    path = root / name
    return path if path.is_file() else None
