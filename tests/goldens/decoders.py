"""What the goldens of tests/checkpoints_decoders.py are made from, and how they are read. Without torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tests.checkpoints_decoders import TinyDecoder
from tests.goldens.corpus import load_kinds, load_texts

FOLDER = Path(__file__).parent / "tiny-decoders"
#: The file of a checkpoint's tokenizer, from its directory.
TOKENIZERS = ("tokenizer.json", "0_StaticEmbedding/tokenizer.json")

#: Texts of these are left out: of no token at all, which a decoder without special tokens cannot read.
_WITHOUT = ("blank", "control")


@dataclass(frozen=True)
class DecoderGolden:
    """ids: of each text; outputs: float32 [texts, width], embeddings or logits."""

    ids: list[list[int]]
    outputs: NDArray[np.float32]


@cache
def texts() -> list[str]:
    """Every sixth text of the corpus."""
    pairs = zip(load_kinds(), load_texts(), strict=True)
    return [text for kind, text in pairs if kind not in _WITHOUT][::6]


def token_ids(directory: Path, limit: int | None, given: list[str]) -> list[list[int]]:
    """As the tokenizer of `directory` gives them, cut at `limit`; None: without special tokens, whole."""
    path = next(directory / place for place in TOKENIZERS if (directory / place).is_file())
    tokenizer = Tokenizer.from_file(str(path))
    if limit is not None:
        tokenizer.enable_truncation(limit)
    return [tokenizer.encode(text, add_special_tokens=limit is not None).ids for text in given]


def words(spec: TinyDecoder, directory: Path) -> tuple[int, int]:
    """Ids of yes and no."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    yes, no = tokenizer.token_to_id("yes"), tokenizer.token_to_id("no")
    if yes is None or no is None or not spec.answers:
        raise ValueError(f"{spec.name} has no yes and no")
    return yes, no


def save_golden(name: str, ids: list[list[int]], outputs: NDArray[np.float32]) -> Path:
    """ids uint16 end to end, offsets int32 [N+1] into them, outputs float32."""
    path = FOLDER / f"{name}.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        path,
        ids=np.concatenate([np.array(one, np.uint16) for one in ids]),
        offsets=np.cumsum([0, *map(len, ids)], dtype=np.int32),
        outputs=outputs,
    )
    return path


def load_golden(name: str) -> DecoderGolden:
    """What transformers or sentence-transformers gave."""
    with np.load(FOLDER / f"{name}.npz") as stored:
        ids = stored["ids"].tolist()
        return DecoderGolden([ids[a:b] for a, b in pairwise(stored["offsets"].tolist())], stored["outputs"])
