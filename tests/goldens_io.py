"""The goldens as values: reference token ids and vectors, in the order of the corpus."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sekisho.contract import Passage, Rows, Tokens
from sekisho.runtime.model import Model
from tests.checkpoints import TINY_BERTS, TinyBert
from tests.goldens.corpus import load_texts

GOLDENS = Path(__file__).with_name("goldens")
MINILM = "all-minilm-l6-v2"
TINY_NAMES = tuple(spec.name for spec in TINY_BERTS)


@dataclass(frozen=True)
class Golden:
    """ids: token ids of each text, special tokens included; vectors: float32 [texts, width]."""

    ids: list[list[int]]
    vectors: Rows


@cache
def golden_texts() -> list[str]:
    """The texts, one a row of every golden."""
    return load_texts()


@cache
def load_golden(name: str) -> Golden:
    """`all-minilm-l6-v2` or one of `tiny-bert-mean`, `tiny-bert-cls`, `tiny-bert-max`."""
    with np.load(GOLDENS / f"{name}.npz") as stored:
        offsets = stored["offsets"]
        ids = [stored["ids"][start:end].tolist() for start, end in pairwise(offsets)]
        return Golden(ids, stored["vectors"])


def tiny_spec(name: str) -> TinyBert:
    """The checkpoint behind a tiny golden."""
    return next(spec for spec in TINY_BERTS if spec.name == name)


def cosines(rows: Rows, reference: Rows) -> NDArray[np.float64]:
    """Cosine of each row with its reference, in float64; rows need not be unit vectors."""
    a, b = rows.astype(np.float64), reference.astype(np.float64)
    dots: NDArray[np.float64] = np.einsum("ij,ij->i", a, b)
    lengths: NDArray[np.float64] = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return dots / lengths


def run_tokens(model: Model, tokens: list[Tokens], batch_tokens: int = 4096) -> list[Rows]:
    """Every output of the model for these tokens, in their order; neighbours in length share a batch."""
    order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
    outputs = [np.empty((len(tokens), 0), np.float32) for _ in model.contract.outputs]
    batch: list[int] = []
    for place, index in enumerate(order):
        batch.append(index)
        following = order[place + 1] if place + 1 < len(order) else None
        if following is None or (len(batch) + 1) * len(tokens[following]) > batch_tokens:
            rows = model.run(0, [tokens[i] for i in batch])
            for number, part in enumerate(rows):
                if not outputs[number].shape[1]:
                    outputs[number] = np.empty((len(tokens), part.shape[1]), np.float32)
                outputs[number][batch] = part
            batch = []
    return outputs


def run_texts(model: Model, texts: list[str]) -> list[Rows]:
    """Every output of the model for these texts, cut at the end as a request would be."""
    return run_tokens(model, model.encode([Passage(text) for text in texts], "end"))
