"""What the goldens of tests/checkpoints_encoders.py are made from, and how they are read. Without torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tests.checkpoints_encoders import TinyEncoder
from tests.goldens.corpus import load_kinds, load_texts

FOLDER = Path(__file__).parent / "encoders"
QUERIES = ("english-query", "japanese-query")
EACH = 3


@dataclass(frozen=True)
class Sequence:
    """One input of a model: token ids, and which of two texts each belongs to."""

    ids: list[int]
    types: list[int]


@dataclass(frozen=True)
class EncoderGolden:
    """outputs: float32 [inputs, width], embeddings or logits."""

    inputs: list[Sequence]
    outputs: NDArray[np.float32]


@cache
def sample_texts() -> list[str]:
    """Up to three texts of each kind of the corpus: its first, its middle one, its last."""
    texts = []
    for _, group in groupby(zip(load_kinds(), load_texts(), strict=True), key=lambda pair: pair[0]):
        own = [text for _, text in group]
        texts += [own[index] for index in sorted({0, len(own) // 2, len(own) - 1})]
    return texts


@cache
def sample_pairs() -> list[tuple[str, str]]:
    """Queries of the corpus, each with two of the texts."""
    queries = [text for kind, text in zip(load_kinds(), load_texts(), strict=True) if kind in QUERIES][::2]
    texts = sample_texts()
    return [
        (query, texts[(place * 7 + offset) % len(texts)])
        for place, query in enumerate(queries)
        for offset in (1, 36, 50)
    ]


def sequences(spec: TinyEncoder, directory: Path) -> list[Sequence]:
    """The texts, or pairs for a reranker, as the tokenizer of `directory` gives them; of a pair the second is cut."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    if spec.kind == "reranker":
        tokenizer.enable_truncation(spec.limit, strategy="only_second")
        encoded = [tokenizer.encode(*pair) for pair in sample_pairs()]
    else:
        tokenizer.enable_truncation(spec.limit)
        encoded = [tokenizer.encode(text) for text in sample_texts()]
    return [Sequence(one.ids, one.type_ids) for one in encoded]


def save_golden(name: str, inputs: list[Sequence], outputs: NDArray[np.float32]) -> Path:
    """ids uint16 and types uint8 end to end, offsets int32 [N+1] into them, outputs float32."""
    path = FOLDER / f"{name}.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        path,
        ids=np.concatenate([np.array(one.ids, np.uint16) for one in inputs]),
        types=np.concatenate([np.array(one.types, np.uint8) for one in inputs]),
        offsets=np.cumsum([0, *(len(one.ids) for one in inputs)], dtype=np.int32),
        outputs=outputs,
    )
    return path


def load_golden(spec: TinyEncoder) -> EncoderGolden:
    """What transformers gave for `spec`, or for its twin."""
    with np.load(FOLDER / f"{spec.twin or spec.name}.npz") as stored:
        ids, types = stored["ids"].tolist(), stored["types"].tolist()
        bounds = list(pairwise(stored["offsets"].tolist()))
        return EncoderGolden([Sequence(ids[a:b], types[a:b]) for a, b in bounds], stored["outputs"])
