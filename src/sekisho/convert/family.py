"""What a family file declares."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sekisho.contract import Kind, Pooling
from sekisho.convert.blocks import Graph, Value
from sekisho.errors import ConversionFailed

T = TypeVar("T", int, float, str)
Config = Mapping[str, Any]


@dataclass(frozen=True)
class Body:
    """The encoder of a graph under construction.

    hidden: float32 [B, S, width]; mask: int32 [B, S]; inputs: the graph inputs in order.
    vocabulary: rows of its table, where config.json does not say.
    """

    hidden: Value
    mask: Value
    inputs: tuple[str, ...]
    width: int
    vocabulary: int | None = None


@dataclass(frozen=True)
class Family:
    """model_types: values of config.json's `model_type` this family reads.

    rename: (pattern, replacement) applied in order to each stored weight name.
    unused: patterns of renamed weights that no graph has a use for: buffers, heads of other tasks.
    head: patterns of renamed weights that only a reranker's graph uses.
    positions: how many tokens the config allows.
    build: adds the encoder to a graph, for single texts or for pairs.
    classify: adds the sequence-classification head: hidden states → logits [B, labels]; None where there is none.
    answer: adds the head of a language model that answers one of two words (ids): hidden states → logit of the first
        less that of the second [B, 1]; None where there is none.
    pooling: how its tokens become one vector where nothing in the checkpoint says so.
    default_tokens: the longest input where nobody says so and `positions` is no measure.
    special_tokens: whether a text is framed as tokenizer.json says.
    frame: the tokens before and after a text, where the model's own code adds them in place of its tokenizer.
    prompt_apart: whether a config leaves the prompt's tokens out of the vector, where the family knows.
    normalized: whether a config ends in a normalised vector, where the family knows without modules.json.
    """

    name: str
    model_types: tuple[str, ...]
    rename: tuple[tuple[str, str], ...]
    unused: tuple[str, ...]
    head: tuple[str, ...]
    positions: Callable[[Config], int]
    build: Callable[[Graph, Config, Kind], Body]
    classify: Callable[[Graph, Config, Body], Value] | None = None
    answer: Callable[[Graph, Config, Body, tuple[int, int]], Value] | None = None
    pooling: Pooling | None = None
    default_tokens: int | None = None
    special_tokens: bool = True
    frame: tuple[str, str] | None = None
    prompt_apart: Callable[[Config], bool] | None = None
    normalized: Callable[[Config], bool] | None = None

    def renamer(self, kind: Kind) -> Callable[[str], str | None]:
        """Stored weight name → the family's; None where a graph of this kind has no use for it."""
        dropped = self.unused if kind == "reranker" else (*self.unused, *self.head)

        def rename(stored: str) -> str | None:
            name = stored
            for pattern, replacement in self.rename:
                name = re.sub(pattern, replacement, name)
            return None if any(re.search(pattern, name) for pattern in dropped) else name

        return rename


def read(config: Config, key: str, kind: type[T], default: T | None = None, *, where: str = "config.json") -> T:
    """A value of a config. Raises ConversionFailed, which names the file, where it is missing or of another type."""
    value = config.get(key)
    value = default if value is None else value
    if value is None:
        raise ConversionFailed(f"{where} has no {key!r}")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return kind(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConversionFailed(f"{where}: {key!r} is {value!r}, expected {kind.__name__}")
    return value


def require(config: Config, key: str, *accepted: object) -> None:
    """Refuse a config whose `key` asks for something the graph does not do. Absent is accepted."""
    if config.get(key) is not None and config[key] not in accepted:
        known = ", ".join(repr(value) for value in accepted)
        raise ConversionFailed(f"config.json: {key!r} is {config[key]!r}; this family supports {known}")


def labels(config: Config) -> int:
    """How many scores a classification head gives (transformers: num_labels, else the length of id2label, else 2)."""
    if isinstance(config.get("id2label"), Mapping):
        return len(config["id2label"])
    return read(config, "num_labels", int, 2)
