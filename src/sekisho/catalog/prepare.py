"""Making a model ready on disk: verified files → a directory that is complete or absent, once per machine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from sekisho.catalog.artifacts import Artifacts
from sekisho.catalog.cache import LOCK_FILE, hold, model_root
from sekisho.catalog.lockfile import Lock
from sekisho.catalog.registry import Spec
from sekisho.contract import CONTRACT_VERSION, Contract
from sekisho.convert.proving import Run, make_half, make_int8
from sekisho.convert.sealing import seal, sha256_of, sync_directory
from sekisho.convert.staging import NO_ACCESS, NO_ROOM
from sekisho.convert.version import CONVERTER_VERSION, HALF_VERSION, INT8_VERSION
from sekisho.errors import ConversionFailed, StorageFull
from sekisho.observability import logger

log = logger(__name__)

#: Told the step (`fetch FILE`, `verify FILE`, `convert`, `quantise`, `check`), how much of it is done, and all of it:
#: bytes, but products of `quantise` and runs of `check`.
Progress = Callable[[str, int, int], None]

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Prepared:
    """A model ready to be loaded."""

    directory: Path
    contract: Contract
    seconds: float


class Preparer:
    """Prepares models under `home`, one process at a time each."""

    def __init__(
        self,
        home: Path,
        artifacts: Artifacts,
        lock: Lock,
        run: Run | None = None,
        in_half: Callable[[Spec], bool] = lambda _spec: False,
    ) -> None:
        """run: what int8 and fp16 are measured with; without, int8 is refused. in_half: whether the device of this
        machine computes a model in fp16."""
        self._run = run
        self._in_half = in_half
        self._home = home
        self._artifacts = artifacts
        self._lock = lock
        # Of the versions that were handed out, so that no `cache prune` takes one away. Gone with this object.
        self._holds: list[int] = []
        weakref.finalize(self, _let_go, self._holds)

    def find(self, spec: Spec) -> Prepared | None:
        """The prepared model if it is there, whole and made from the pinned files; makes nothing."""
        return _open(self.target(spec), 0.0)

    def prepare(self, spec: Spec, progress: Progress | None = None) -> Prepared:
        """Find the prepared model or make it.

        Raises ModelUnpinned, ArtifactRefused, SourceUnreachable, ConversionFailed, StorageFull.
        """
        began = time.monotonic()
        target = self.target(spec)
        ready = self._held(target, 0.0)
        if ready is not None:
            return ready
        with _storage_errors(spec, target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _exclusive(target.parent / LOCK_FILE, spec):
                ready = self._held(target, time.monotonic() - began) or self._make(spec, target, began, progress)
        return ready

    def _held(self, target: Path, seconds: float) -> Prepared | None:
        """Held before it is looked at: from then on it stays."""
        try:
            handle = hold(target)
        except OSError:
            return None
        ready = _open(target, seconds)
        if handle is not None:
            if ready is None:
                os.close(handle)
            else:
                self._holds.append(handle)
        return ready

    def _make(self, spec: Spec, target: Path, began: float, progress: Progress | None) -> Prepared:
        """Build beside the target and move it there in one step: what a killed process leaves is never a model."""
        _discard_remains(target)
        files = self._artifacts.verified(spec, self._lock.models.get(spec.name), progress)
        _check_room(spec, target.parent, sum(path.stat().st_size for path in files.values()))
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            _convert(spec, self._artifacts.graph(spec).onnx, files, staging, _converted(progress))
            if self._is_int8(spec):
                _quantise(spec, staging, self._run, progress)
            elif self._is_half(spec):
                _halve(spec, staging, self._run, progress)
            seal(staging)
            os.rename(staging, target)
            sync_directory(target.parent)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        prepared = self._held(target, time.monotonic() - began)
        if prepared is None:
            raise ConversionFailed(f"the prepared files of {spec.name!r} changed while they were being written")
        log.info("prepared", model=spec.name, seconds=round(prepared.seconds, 2))
        return prepared

    def target(self, spec: Spec) -> Path:
        """Keyed by everything that decides the result: the files' digests, what models.yaml says, our own version."""
        pins = self._artifacts.pins(spec, self._lock.models.get(spec.name))
        key = {
            "files": {name: pin.sha256 for name, pin in sorted(pins.items())},
            "choices": _choices(spec),
            "versions": [CONVERTER_VERSION, CONTRACT_VERSION],
        }
        graph = self._artifacts.graph(spec).onnx
        if graph is not None:
            key["graph"] = [graph, spec.precision]
        if self._is_int8(spec):
            key["int8"] = [INT8_VERSION, spec.force_precision]
        elif self._is_half(spec):
            key["half"] = [HALF_VERSION, spec.precision, spec.force_precision]
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return model_root(self._home, spec.name) / digest[:16]

    def _is_int8(self, spec: Spec) -> bool:
        return spec.precision == "int8" and self._artifacts.graph(spec).onnx is None

    def _is_half(self, spec: Spec) -> bool:
        return self._artifacts.graph(spec).onnx is None and self._in_half(spec)


def _quantise(spec: Spec, directory: Path, run: Run | None, progress: Progress | None) -> None:
    """Make the float graph of `directory` int8, if its vectors stay near enough.

    Raises ConversionFailed with the figures where they do not and models.yaml does not insist.
    """
    if run is None:
        raise ConversionFailed(f"{spec.name!r} asks for int8, which is proven with OpenVINO: `sekisho[openvino]`")
    quality = make_int8(directory, spec.name, run, origin="models.yaml", force=spec.force_precision, progress=progress)
    log.info("int8", model=spec.name, **asdict(quality))


def _halve(spec: Spec, directory: Path, run: Run | None, progress: Progress | None) -> None:
    """Make the float graph of `directory` fp16, if its vectors stay near enough; else it stays as it is, and says why.

    Raises ConversionFailed with the figures where models.yaml asks for fp16, they miss the bar and it does not insist.
    """
    if run is None:
        return
    asked = spec.precision == "fp16"
    quality = make_half(directory, spec.name, run, asked=asked, force=spec.force_precision, progress=progress)
    log.info("half", model=spec.name, **({} if quality is None else asdict(quality)))


def _let_go(holds: list[int]) -> None:
    for handle in holds:
        os.close(handle)


def _choices(spec: Spec) -> dict[str, object]:
    return {
        "kind": spec.kind,
        "family": spec.family,
        "pooling": spec.pooling,
        "normalize": spec.normalize,
        "max_tokens": spec.max_tokens,
        "dimensions": spec.dimensions,
        "heads": spec.heads,
        "yes_no": spec.yes_no,
        "tokenizer": spec.tokenizer.kind,
        "normalization": spec.normalization,
    }


def _convert(
    spec: Spec,
    graph: str | None,
    files: dict[str, Path],
    staging: Path,
    progress: Callable[[int, int], None] | None,
) -> None:
    try:
        from sekisho.convert.build import convert  # an extra, and slow to import
        from sekisho.convert.decisions import Choices
        from sekisho.convert.ready_made import convert_ready_made
    except ImportError as error:
        raise ConversionFailed(
            f"the model {spec.name!r} has to be converted, and the converter is not installed: "
            f"`pip install 'sekisho[convert]'` (missing: {error.name})"
        ) from None
    view = staging / ".source"
    _link(files, view)
    choices = Choices(**_choices(spec))  # type: ignore[arg-type]  # checked by the registry
    if graph is not None:
        convert_ready_made(view, graph, staging, choices, spec.precision, progress)
    else:
        convert(view, staging, choices, progress)
    shutil.rmtree(view)


def _link(files: dict[str, Path], view: Path) -> None:
    """A directory that shows the converter the verified files and nothing else."""
    for name, path in files.items():
        (view / name).parent.mkdir(parents=True, exist_ok=True)
        (view / name).symlink_to(path.resolve())


def _open(directory: Path, seconds: float) -> Prepared | None:
    """The directory as a prepared model; None where it is absent or any byte of it is not what was sealed."""
    try:
        contract = Contract.read(directory)
        whole = all(sha256_of(directory / name) == digest for name, digest in contract.files.items())
    except (OSError, ValueError, TypeError):
        return None
    if not whole:
        log.warning("prepared_damaged", directory=directory.name)
        return None
    return Prepared(directory, contract, seconds)


def _discard_remains(target: Path) -> None:
    """What a killed process left, also when it made another version of the model, and a damaged target.

    Only called under the model's lock, so nobody is at work there.
    """
    for path in target.parent.glob(".*.*"):
        shutil.rmtree(path, ignore_errors=True)
    if target.exists():
        shutil.rmtree(target)


@contextmanager
def _exclusive(path: Path, spec: Spec) -> Iterator[None]:
    """Held by the operating system: a process that dies lets go."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("waiting", model=spec.name, reason="another process is preparing this model")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _check_room(spec: Spec, directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise StorageFull(
            f"The model {spec.name!r} needs {needed // _MIB + 1:,} MiB of cache and {free // _MIB:,} MiB are free: "
            "make room, or point SEKISHO_HOME at a larger disk"
        )


@contextmanager
def _storage_errors(spec: Spec, directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise StorageFull(
                f"The disk of the cache filled up while the model {spec.name!r} was being prepared: "
                "make room, or point SEKISHO_HOME at a larger disk. Nothing half-made is left behind"
            ) from error
        if error.errno in NO_ACCESS:
            raise StorageFull(
                "The cache cannot be written: set SEKISHO_HOME to a directory this user may write"
            ) from error
        raise


def _converted(progress: Progress | None) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, size: progress("convert", done, size)
