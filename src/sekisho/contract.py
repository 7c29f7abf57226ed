"""The values that cross layers, and what a prepared model directory promises.

A prepared model is a directory with `model.onnx` (+ `model.onnx.data`), `tokenizer.json` and `contract.json`.
The contract is the whole conversation between the converter, which writes it, and the serving side, which reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

CONTRACT_FILE = "contract.json"
GRAPH_FILE = "model.onnx"
WEIGHTS_FILE = "model.onnx.data"
TOKENIZER_FILE = "tokenizer.json"

#: Raised when a change makes directories prepared by an older converter wrong or unreadable.
CONTRACT_VERSION = 1

Kind = Literal["embedding", "reranker"]
Pooling = Literal["mean", "cls", "max", "last", "weighted_mean"]
Truncation = Literal["end", "start", "none"]
Precision = Literal["auto", "fp32", "bf16"]

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Contract:
    """What the graph beside it takes and gives.

    inputs: graph input names in order; every one is int32 of shape [rows, length].
    outputs: names of the float32 outputs. An embedding model gives `embedding` [rows, width] and, where that is
        normalised, `norm` [rows, 1]; a reranker gives `logits` [rows, width].
    max_tokens: longest input the model was made for, special tokens included.
    origins: for each value that can come from several places, where it came from.
    files: sha256 of every other file in the directory.
    """

    kind: Kind
    family: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    width: int
    max_tokens: int
    pad_id: int
    vocabulary: int
    pooling: Pooling | None
    normalized: bool
    parameters: int
    origins: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    version: int = CONTRACT_VERSION

    def write(self, directory: Path) -> None:
        values = asdict(self)
        values["seal"] = _digest(values)
        (directory / CONTRACT_FILE).write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, directory: Path) -> Contract:
        """Raises OSError or ValueError where the directory is no prepared model of this version."""
        values = json.loads((directory / CONTRACT_FILE).read_text("utf-8"))
        if not isinstance(values, dict) or values.get("version") != CONTRACT_VERSION:
            raise ValueError(f"no contract of version {CONTRACT_VERSION}")
        if values.pop("seal", None) != _digest(values):
            raise ValueError("the contract was changed after it was written")
        values |= {"inputs": tuple(values["inputs"]), "outputs": tuple(values["outputs"])}
        return cls(**values)


def _digest(values: Mapping[str, Any]) -> str:
    """The contract vouches for the files beside it; this vouches for the contract."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Passage:
    """One text as the service hands it to an engine.

    prompt_chars: how many leading characters of `text` are the prompt, which truncation never cuts.
    ids: token ids of the model's own vocabulary, in place of the text.
    """

    text: str
    prompt_chars: int = 0
    ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenised passage: what the model will see, special tokens included."""

    ids: Sequence[int]
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Timings:
    """Where a request's time went, in seconds."""

    queue: float = 0.0
    tokenize: float = 0.0
    inference: float = 0.0


@dataclass(frozen=True, slots=True)
class Inference:
    """What an engine gives back for a request.

    rows: float32 [passages, width], in the order asked.
    norms: float32 [passages], what the graph divided each row by; None where it does not normalise.
    tokens: number of tokens the model saw, over all passages.
    truncated: number of passages that were cut.
    """

    rows: Rows
    norms: Rows | None
    tokens: int
    truncated: int
    timings: Timings
