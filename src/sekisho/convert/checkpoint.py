"""A checkpoint directory as values: config, weights, and the sentence-transformers files beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from sekisho.errors import ConversionFailed

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
MODULES_FILE = "modules.json"
MAX_LENGTH_FILE = "sentence_bert_config.json"

#: The sentence-transformers module that is a table of vectors, in place of a transformer.
STATIC_MODULE = "StaticEmbedding"

#: safetensors' own names of the floating types that are read, and NumPy's; each becomes float32 in the graph.
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read_json(path: Path) -> Any:
    """Raises ConversionFailed, naming the file, where it is missing or no JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConversionFailed(f"{path.name} is missing from the checkpoint") from None
    except ValueError as error:
        raise ConversionFailed(f"{path.name} is not valid JSON: {error}") from None


def _object(path: Path) -> Mapping[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise ConversionFailed(f"{path.name} holds no JSON object")
    return value


@dataclass(frozen=True)
class _Stored:
    """Where one tensor lies: bytes start..end of a file."""

    name: str
    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class Weights:
    """The tensors of a checkpoint under the names its family uses, which knows what was taken from it.

    Nothing is read before it is taken, and no file stays open.
    """

    def __init__(self, paths: Sequence[Path], rename: Callable[[str], str | None]) -> None:
        """`rename` maps a stored name to the family's, or to None where the family has no use for it."""
        self._stored: dict[str, _Stored] = {}
        self._taken: set[str] = set()
        for stored in (stored for path in paths for stored in _index(path)):
            new = rename(stored.name)
            if new is not None and self._stored.setdefault(new, stored) != stored:
                raise ConversionFailed(
                    f"{stored.path.name} holds the weight {new!r} twice: {self._stored[new].name!r} and {stored.name!r}"
                )

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises ConversionFailed where the checkpoint holds no such weight."""
        return self._find(name).shape

    def take(self, name: str, *shape: int) -> NDArray[np.float32]:
        """The tensor `name` as float32. Raises ConversionFailed where it is missing or of another shape."""
        return self.promise(name, *shape)()

    def promise(self, name: str, *shape: int) -> Callable[[], NDArray[np.float32]]:
        """Like `take`, with the same checks at once; the bytes are read by each call of what it returns."""
        stored = self._find(name)
        if stored.shape != shape:
            raise ConversionFailed(f"weight {name!r} has shape {stored.shape}, config.json says {shape}")
        if stored.dtype not in _FLOATS:
            raise ConversionFailed(f"weight {stored.name!r} is {stored.dtype}; float32, float16 and bfloat16 are read")
        self._taken.add(name)
        return lambda: _read(stored)

    def take_rows(self, name: str, rows: Sequence[int], *shape: int) -> NDArray[np.float32]:
        """Some rows of a matrix that may be large."""
        self.promise(name, *shape)
        stored = self._find(name)
        size = (stored.end - stored.start) // shape[0]
        starts = [stored.start + row * size for row in rows]
        return np.stack([_read(replace(stored, shape=shape[1:], start=start, end=start + size)) for start in starts])

    def left_over(self) -> list[str]:
        """Stored names that the family claims but the graph never took."""
        return sorted(stored.name for name, stored in self._stored.items() if name not in self._taken)

    def _find(self, name: str) -> _Stored:
        if name not in self._stored:
            raise ConversionFailed(f"the checkpoint holds no weight {name!r}, which this family needs")
        return self._stored[name]


def _index(path: Path) -> Iterator[_Stored]:
    """Layout: https://github.com/huggingface/safetensors#format. Their reader checks it, then ours knows where to look.

    It has no NumPy type for bfloat16, and would hold every file open until the last tensor is written.
    """
    try:
        with safe_open(path, framework="numpy"):
            pass
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(header_bytes))
    except (OSError, ValueError, SafetensorError) as error:
        raise ConversionFailed(f"{path.name} is not a readable safetensors file: {error}") from None
    header.pop("__metadata__", None)
    for name, entry in header.items():
        start, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
        yield _Stored(name, path, entry["dtype"], tuple(entry["shape"]), start, end)


def _read(stored: _Stored) -> NDArray[np.float32]:
    dtype = np.dtype(_FLOATS[stored.dtype])
    data = np.fromfile(stored.path, dtype, (stored.end - stored.start) // dtype.itemsize, offset=stored.start)
    if stored.dtype == "BF16":  # the upper half of a float32
        data = np.left_shift(data, 16, dtype=np.uint32).view(np.float32)
    return data.reshape(stored.shape).astype(np.float32, copy=False)


@dataclass(frozen=True)
class Module:
    """One step of a sentence-transformers pipeline: its type's name, its own config, and where its files lie."""

    kind: str
    config: Mapping[str, Any]
    directory: Path
    path: str

    def weights(self) -> Weights:
        return Weights([_existing(self.directory / self.path / WEIGHTS_FILE)], lambda name: name)


@dataclass(frozen=True)
class Checkpoint:
    """A directory as transformers and sentence-transformers write it.

    modules: the sentence-transformers pipeline, empty where there is none.
    """

    directory: Path
    config: Mapping[str, Any]
    modules: tuple[Module, ...]
    max_length: int | None

    @classmethod
    def open(cls, directory: Path) -> Checkpoint:
        modules = tuple(_modules(directory))
        root = _root(directory, modules)
        # A table of vectors has no config of its own.
        config = {} if modules and modules[0].kind == STATIC_MODULE else _object(root / CONFIG_FILE)
        return cls(directory, config, modules, _max_length(root))

    @property
    def root(self) -> Path:
        """Where the first module's files lie: weights, config, tokenizer."""
        return _root(self.directory, self.modules)

    def weights(self, rename: Callable[[str], str | None]) -> Weights:
        """The weights of the one file, or of every shard that the index names."""
        index = self.root / INDEX_FILE
        if not index.is_file():
            return Weights([_existing(self.root / WEIGHTS_FILE)], rename)
        shards = _object(index).get("weight_map")
        if not isinstance(shards, dict) or not all(
            isinstance(name, str) and "/" not in name for name in shards.values()
        ):
            raise ConversionFailed(f"{INDEX_FILE} has no weight_map of file names")
        return Weights([_existing(self.root / name) for name in sorted(set(shards.values()))], rename)

    def module(self, kind: str) -> Mapping[str, Any] | None:
        """The config of the pipeline's module of that type (`Pooling`, `Normalize`), None without one."""
        return next((module.config for module in self.modules if module.kind == kind), None)


def _root(directory: Path, modules: Sequence[Module]) -> Path:
    return directory / modules[0].path if modules else directory


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ConversionFailed(f"{path.name} is missing from the checkpoint; other weight formats are not read")
    return path


def _modules(directory: Path) -> Iterator[Module]:
    if not (directory / MODULES_FILE).is_file():
        return
    modules = read_json(directory / MODULES_FILE)
    try:
        pipeline = [(str(module["type"]).rsplit(".", 1)[-1], str(module["path"])) for module in modules]
    except (KeyError, TypeError):
        raise ConversionFailed(f"{MODULES_FILE} is no list of modules with a `type` and a `path` each") from None
    for kind, path in pipeline:
        if "/" in path or "\\" in path or path == "..":
            raise ConversionFailed(f"{MODULES_FILE}: {path!r} is no folder beside it")
        config = directory / path / CONFIG_FILE
        yield Module(kind, _object(config) if path and config.is_file() else {}, directory, path)


def _max_length(directory: Path) -> int | None:
    path = directory / MAX_LENGTH_FILE
    value = _object(path).get("max_seq_length") if path.is_file() else None
    if value is not None and (not isinstance(value, int) or value < 1):
        raise ConversionFailed(f"{MAX_LENGTH_FILE}: 'max_seq_length' is {value!r}, expected a number of tokens")
    return value
