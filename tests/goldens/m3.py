"""What the goldens of tests/checkpoints_m3.py are made from, and how they are read. Without torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.goldens.decoders import texts

FOLDER = Path(__file__).parent / "tiny-m3"
Floats = NDArray[Any]


@dataclass(frozen=True)
class M3Golden:
    """Of each text: token ids, a weight a token, a vector a token but the first."""

    ids: list[list[int]]
    sparse: list[Floats]
    colbert: list[Floats]


def some_texts() -> list[str]:
    """A few of the corpus, short and long."""
    return texts()[::4]


def save_golden(name: str, ids: list[list[int]], sparse: list[Floats], colbert: list[Floats]) -> None:
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(
        FOLDER / f"{name}.npz",
        ids=np.concatenate([np.array(one, np.uint16) for one in ids]),
        offsets=np.cumsum([0, *map(len, ids)], dtype=np.int32),
        sparse=np.concatenate(sparse),
        colbert=np.concatenate(colbert),
    )


def load_golden(name: str) -> M3Golden:
    with np.load(FOLDER / f"{name}.npz") as stored:
        bounds = list(pairwise(stored["offsets"].tolist()))
        return M3Golden(
            [stored["ids"][a:b].tolist() for a, b in bounds],
            [stored["sparse"][a:b] for a, b in bounds],
            # One row fewer a text before it.
            [stored["colbert"][a - number : b - number - 1] for number, (a, b) in enumerate(bounds)],
        )
