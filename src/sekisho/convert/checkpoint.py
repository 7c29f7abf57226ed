"""A checkpoint directory as values: config, weights, and the sentence-transformers files beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
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

    def __init__(self, path: Path, rename: Callable[[str], str | None]) -> None:
        """`rename` maps a stored name to the family's, or to None where the family has no use for it."""
        try:
            self._file = safe_open(path, framework="numpy")
            stored = list(self._file.keys())
        except (OSError, SafetensorError) as error:
            raise ConversionFailed(f"{path.name} is not a readable safetensors file: {error}") from None
        self._path = path
        self._stored: dict[str, str] = {}
        self._taken: set[str] = set()
        for old in stored:
            new = rename(old)
            if new is not None and self._stored.setdefault(new, old) != old:
                raise ConversionFailed(f"{path.name} holds the weight {new!r} twice: {self._stored[new]!r} and {old!r}")

    def __enter__(self) -> Weights:
        self._file.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def take(self, name: str, *shape: int) -> NDArray[np.float32]:
        """The tensor `name` as float32. Raises ConversionFailed where it is missing or of another shape."""
        if name not in self._stored:
            raise ConversionFailed(f"{self._path.name} holds no weight {name!r}, which this family needs")
        self._taken.add(name)
        tensor = self._read(self._stored[name])
        if tensor.shape != shape:
            raise ConversionFailed(f"weight {name!r} has shape {tensor.shape}, config.json says {shape}")
        return tensor.astype(np.float32, copy=False)

    def _read(self, stored: str) -> NDArray[Any]:
        view = self._file.get_slice(stored)
        dtype = view.get_dtype()
        if dtype not in _FLOATS:
            raise ConversionFailed(f"weight {stored!r} is {dtype}; float32, float16 and bfloat16 are read")
        if dtype == "BF16":
            return self._read_bfloat16(stored)
        tensor: NDArray[Any] = self._file.get_tensor(stored)
        return tensor

    def _read_bfloat16(self, stored: str) -> NDArray[np.float32]:
        """bfloat16 is the upper half of float32; safetensors has no NumPy type for it, so its bytes are widened here.

        Layout: https://github.com/huggingface/safetensors#format
        """
        with self._path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            entry = json.loads(file.read(header_bytes))[stored]
            start, end = entry["data_offsets"]
            file.seek(8 + header_bytes + start)
            halves = np.frombuffer(file.read(end - start), dtype="<u2")
        return (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])

    def left_over(self) -> list[str]:
        """Stored names that the family claims but the graph never took."""
        return sorted(old for new, old in self._stored.items() if new not in self._taken)


@dataclass(frozen=True)
class Checkpoint:
    """A directory as transformers and sentence-transformers write it.

    modules: the sentence-transformers pipeline as (type name, its own config), empty where there is none.
    """

    directory: Path
    config: Mapping[str, Any]
    modules: tuple[tuple[str, Mapping[str, Any]], ...]
    max_length: int | None

    @classmethod
    def open(cls, directory: Path) -> Checkpoint:
        config = _object(directory / CONFIG_FILE)
        return cls(directory, config, tuple(_modules(directory)), _max_length(directory))

    def weights(self, rename: Callable[[str], str | None]) -> Weights:
        path = self.directory / WEIGHTS_FILE
        if not path.is_file():
            raise ConversionFailed(f"{WEIGHTS_FILE} is missing from the checkpoint; other weight formats are not read")
        return Weights(path, rename)

    def module(self, kind: str) -> Mapping[str, Any] | None:
        """The config of the pipeline's module of that type (`Pooling`, `Dense`, `Normalize`), None without one."""
        return next((config for name, config in self.modules if name == kind), None)


def _modules(directory: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not (directory / MODULES_FILE).is_file():
        return
    modules = read_json(directory / MODULES_FILE)
    try:
        pipeline = [(str(module["type"]).rsplit(".", 1)[-1], str(module["path"])) for module in modules]
    except (KeyError, TypeError):
        raise ConversionFailed(f"{MODULES_FILE} is no list of modules with a `type` and a `path` each") from None
    for kind, subdirectory in pipeline:
        path = directory / subdirectory / CONFIG_FILE
        yield kind, _object(path) if subdirectory and path.is_file() else {}


def _max_length(directory: Path) -> int | None:
    path = directory / MAX_LENGTH_FILE
    value = _object(path).get("max_seq_length") if path.is_file() else None
    if value is not None and (not isinstance(value, int) or value < 1):
        raise ConversionFailed(f"{MAX_LENGTH_FILE}: 'max_seq_length' is {value!r}, expected a number of tokens")
    return value
