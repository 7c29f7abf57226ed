"""What a family file declares."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sekisho.convert.blocks import Graph, Value
from sekisho.errors import ConversionFailed

T = TypeVar("T", int, float, str)


@dataclass(frozen=True)
class Body:
    """The encoder of a graph under construction.

    hidden: float32 [B, S, width]; mask: int32 [B, S]; inputs: the graph inputs in order.
    """

    hidden: Value
    mask: Value
    inputs: tuple[str, ...]
    width: int


@dataclass(frozen=True)
class Family:
    """model_types: values of config.json's `model_type` this family reads.

    rename: (pattern, replacement) applied in order to each stored weight name.
    unused: patterns of renamed weights that an embedding has no use for: heads, buffers.
    positions: how many tokens the config's position table allows.
    build: adds the encoder to a graph.
    """

    name: str
    model_types: tuple[str, ...]
    rename: tuple[tuple[str, str], ...]
    unused: tuple[str, ...]
    positions: Callable[[Mapping[str, Any]], int]
    build: Callable[[Graph, Mapping[str, Any]], Body]

    def rename_weight(self, stored: str) -> str | None:
        """The family's name of a stored weight; None where it is of no use."""
        name = stored
        for pattern, replacement in self.rename:
            name = re.sub(pattern, replacement, name)
        return None if any(re.search(pattern, name) for pattern in self.unused) else name


def read(config: Mapping[str, Any], key: str, kind: type[T], default: T | None = None) -> T:
    """A value of config.json. Raises ConversionFailed where it is missing or of another type."""
    value = config.get(key)
    value = default if value is None else value
    if value is None:
        raise ConversionFailed(f"config.json has no {key!r}")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return kind(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConversionFailed(f"config.json: {key!r} is {value!r}, expected {kind.__name__}")
    return value


def require(config: Mapping[str, Any], key: str, *accepted: object) -> None:
    """Refuse a config whose `key` asks for something the graph does not do. Absent is accepted."""
    if config.get(key) is not None and config[key] not in accepted:
        known = ", ".join(repr(value) for value in accepted)
        raise ConversionFailed(f"config.json: {key!r} is {config[key]!r}; this family supports {known}")
