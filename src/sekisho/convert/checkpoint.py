"""A checkpoint directory as values: config, weights, and the sentence-transformers files beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
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

#: safetensors' own names of the floating types that are read; each becomes float32 in the graph.
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


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


class Weights:
    """The tensors of a checkpoint under the names its family uses, which knows what was taken from it.

    Nothing is read before it is taken, so at most one tensor is in memory twice.
    """

    def __init__(self, paths: Sequence[Path], rename: Callable[[str], str | None]) -> None:
        """`rename` maps a stored name to the family's, or to None where the family has no use for it."""
        self._stack = ExitStack()
        self._stored: dict[str, tuple[str, Path, Any]] = {}
        self._taken: set[str] = set()
        for path in paths:
            self._index(path, rename)

    def _index(self, path: Path, rename: Callable[[str], str | None]) -> None:
        try:
            file = self._stack.enter_context(safe_open(path, framework="numpy"))
            stored = list(file.keys())
        except (OSError, SafetensorError) as error:
            raise ConversionFailed(f"{path.name} is not a readable safetensors file: {error}") from None
        for old in stored:
            new = rename(old)
            if new is not None and self._stored.setdefault(new, (old, path, file))[0] != old:
                raise ConversionFailed(
                    f"{path.name} holds the weight {new!r} twice: {self._stored[new][0]!r} and {old!r}"
                )

    def __enter__(self) -> Weights:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def take(self, name: str, *shape: int) -> NDArray[np.float32]:
        """The tensor `name` as float32. Raises ConversionFailed where it is missing or of another shape."""
        if name not in self._stored:
            raise ConversionFailed(f"the checkpoint holds no weight {name!r}, which this family needs")
        self._taken.add(name)
        tensor = _read(*self._stored[name])
        if tensor.shape != shape:
            raise ConversionFailed(f"weight {name!r} has shape {tensor.shape}, config.json says {shape}")
        return tensor.astype(np.float32, copy=False)

    def left_over(self) -> list[str]:
        """Stored names that the family claims but the graph never took."""
        return sorted(old for new, (old, _, _) in self._stored.items() if new not in self._taken)


def _read(stored: str, path: Path, file: Any) -> NDArray[Any]:
    dtype = file.get_slice(stored).get_dtype()
    if dtype not in _FLOATS:
        raise ConversionFailed(f"weight {stored!r} is {dtype}; float32, float16 and bfloat16 are read")
    if dtype == "BF16":
        return _read_bfloat16(stored, path)
    tensor: NDArray[Any] = file.get_tensor(stored)
    return tensor


def _read_bfloat16(stored: str, path: Path) -> NDArray[np.float32]:
    """bfloat16 is the upper half of float32; safetensors has no NumPy type for it, so its bytes are widened here.

    Layout: https://github.com/huggingface/safetensors#format
    """
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(header_bytes))[stored]
        start, end = entry["data_offsets"]
        file.seek(8 + header_bytes + start)
        halves = np.frombuffer(file.read(end - start), dtype="<u2")
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])


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
        config = _object(directory / CONFIG_FILE)
        return cls(directory, config, tuple(_modules(directory)), _max_length(directory))

    def weights(self, rename: Callable[[str], str | None]) -> Weights:
        """The weights of the one file, or of every shard that the index names."""
        index = self.directory / INDEX_FILE
        if not index.is_file():
            return Weights([_existing(self.directory / WEIGHTS_FILE)], rename)
        shards = _object(index).get("weight_map")
        if not isinstance(shards, dict) or not all(
            isinstance(name, str) and "/" not in name for name in shards.values()
        ):
            raise ConversionFailed(f"{INDEX_FILE} has no weight_map of file names")
        return Weights([_existing(self.directory / name) for name in sorted(set(shards.values()))], rename)

    def module(self, kind: str) -> Mapping[str, Any] | None:
        """The config of the pipeline's module of that type (`Pooling`, `Normalize`), None without one."""
        return next((module.config for module in self.modules if module.kind == kind), None)


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
        config = directory / path / CONFIG_FILE
        yield Module(kind, _object(config) if path and config.is_file() else {}, directory, path)


def _max_length(directory: Path) -> int | None:
    path = directory / MAX_LENGTH_FILE
    value = _object(path).get("max_seq_length") if path.is_file() else None
    if value is not None and (not isinstance(value, int) or value < 1):
        raise ConversionFailed(f"{MAX_LENGTH_FILE}: 'max_seq_length' is {value!r}, expected a number of tokens")
    return value
