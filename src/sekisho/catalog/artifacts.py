"""The files of a model: where they can be had, and proof that they are the pinned ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from sekisho.catalog.lockfile import LockedModel, Pin
from sekisho.catalog.registry import Source, Spec
from sekisho.errors import ArtifactRefused, ModelUnpinned, SekishoError, SourceUnreachable

#: What preparing a model may need, in the order it is read; those that end in `?` are absent from some checkpoints.
WANTED = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "modules.json?",
    "sentence_bert_config.json?",
    "1_Pooling/config.json?",
)

#: Told the file, the bytes hashed so far and its size.
Progress = Callable[[str, int, int], None]

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Place:
    """Somewhere a file may be. `find` gives its path, None where it is not there; errors say why not."""

    label: str
    find: Callable[[str], Path | None]


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
    """Finds and verifies files. Holds no copy of its own: each stays where it is, and the digest decides."""

    def __init__(self, directory: Path, *, offline: bool) -> None:
        """`directory`: where relative paths in the registry start. `offline`: make no network call."""
        self._directory = directory
        self._offline = offline

    def verified(self, spec: Spec, locked: LockedModel | None, progress: Progress | None = None) -> dict[str, Path]:
        """Relative name → path of every file of the model, each with the pinned digest.

        Raises ModelUnpinned, ArtifactRefused (names file and place), SourceUnreachable.
        """
        pins = self.pins(spec, locked)
        return {name: self._verified_file(spec, name, pin, progress) for name, pin in pins.items()}

    def pins(self, spec: Spec, locked: LockedModel | None) -> Mapping[str, Pin]:
        """What each file must be: the lock's word; for a local directory that nobody locked, its present bytes."""
        if locked is not None and spec.pinned and (spec.source.hub is None or locked.revision == spec.source.revision):
            return locked.files
        if spec.source.hub is None:
            return self.measure(spec)
        raise ModelUnpinned(
            f"The model {spec.name!r} is not pinned, so none of its files may be loaded. "
            f"Pin it: `sekisho lock {spec.name}`"
            + ("" if spec.pinned else ", with a full commit as `revision` in models.yaml")
        )

    def measure(self, spec: Spec) -> dict[str, Pin]:
        """Size and sha256 of the wanted files as the model's own source has them now."""
        place = next(self._places(spec.source))
        pins: dict[str, Pin] = {}
        for wanted in WANTED:
            name = wanted.removesuffix("?")
            path = place.find(name)
            if path is not None:
                pins[name] = Pin(size=path.stat().st_size, sha256=sha256_of(path))
            elif name == wanted:
                raise ArtifactRefused(f"{name} of the model {spec.name!r} is not in {place.label}")
        return pins

    def _verified_file(self, spec: Spec, name: str, pin: Pin, progress: Progress | None) -> Path:
        refusals: list[str] = []
        misses: list[str] = []
        for place in sorted(self._places(spec.source), key=lambda place: place.label.startswith("hub ")):
            try:
                path = place.find(name)
            except SekishoError as error:
                misses.append(error.message)
                continue
            if path is None:
                misses.append(f"{place.label} does not have it")
            elif (problem := _problem(path, pin, _tell(progress, name, pin.size))) is None:
                return path
            else:
                refusals.append(f"{place.label}: {problem}")
        if refusals:
            raise ArtifactRefused(
                f"{name} of the model {spec.name!r} was refused: {'; '.join(refusals)}. "
                "It is not the file models.lock pins: fetch it again or, if the change is meant, lock the model anew"
            )
        raise SourceUnreachable(
            f"The model {spec.name!r} could not be fetched: {name}: {'; '.join(misses)}", permanent=self._offline
        )

    def _places(self, source: Source) -> Iterator[Place]:
        """The source itself first. Callers that only want the bytes try local places before the network."""
        if source.hub is not None:
            yield self._hub(source.hub, source.revision)
        if source.package is not None:
            yield self._package(source.package, source.subdir)
        if source.path is not None:
            yield self._path(source.path)
        for mirror in source.mirrors:
            yield self._package(mirror.package, mirror.subdir) if mirror.package else self._path(mirror.path or Path())

    def _path(self, path: Path) -> Place:
        root = self._directory / path
        shown = path.name if path.is_absolute() else path  # the label goes into messages, which hold no server path
        return Place(f"path {shown}", lambda name: _inside(root, name))

    def _package(self, package: str, subdir: str) -> Place:
        def find(name: str) -> Path | None:
            try:
                root = Path(str(distribution(package).locate_file(subdir)))
            except PackageNotFoundError:
                return None
            return _inside(root, name)

        return Place(f"package {package}", find)

    def _hub(self, repository: str, revision: str | None) -> Place:
        return Place(f"hub {repository}", lambda name: self._from_hub(repository, revision, name))

    def _from_hub(self, repository: str, revision: str | None, name: str) -> Path | None:
        """Through the user's own hub cache (HF_HOME), where other programs may have put the file already."""
        # Slow to import, and most starts need nothing from a hub.
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

        if revision is None:
            return None
        try:
            cached = try_to_load_from_cache(repository, name, revision=revision)
            if isinstance(cached, str):
                return Path(cached)
            if self._offline:
                raise SourceUnreachable(
                    f"hub {repository}: not in the local cache, and the server is offline: "
                    "fetch the model once with `sekisho pull`, SEKISHO_OFFLINE unset"
                )
            # Asked once before: on its own the download repeats a failing request for half a minute and more.
            get_hf_file_metadata(hf_hub_url(repository, name, revision=revision))
            return Path(hf_hub_download(repository, name, revision=revision))
        except SekishoError:
            raise
        except EntryNotFoundError:
            return None
        except HfHubHTTPError as error:
            raise SourceUnreachable(f"hub {repository}: {_hub_advice(error.response.status_code)}") from error
        except OSError as error:
            raise SourceUnreachable(f"hub {repository}: {error.strerror or type(error).__name__}") from error
        except Exception as error:  # its library lets those of its HTTP client through
            raise SourceUnreachable(
                f"hub {repository}: not in the local cache, and the hub cannot be reached ({type(error).__name__}): "
                "the server tries again with a later request"
            ) from error


def _inside(root: Path, name: str) -> Path | None:
    path = root / name
    return path if path.is_file() else None


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


def _tell(progress: Progress | None, name: str, size: int) -> Callable[[int], None] | None:
    if progress is None:
        return None
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(name, done, size)

    return advance


def _hub_advice(status: int) -> str:
    advice = {
        401: "it asks for a token (401): set HF_TOKEN",
        403: "access is refused (403): accept the model's terms with the account of HF_TOKEN",
        404: "no such repository or revision (404), or it is private: check models.yaml and HF_TOKEN",
        429: "it limits our requests (429): try again later, or set HF_TOKEN",
    }
    return advice.get(status, f"it answered {status}")
