"""What the goldens of tests/checkpoints_nvembed.py are made from, and how they are read. Without torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tests.goldens.decoders import texts

FOLDER = Path(__file__).parent / "tiny-nvembed"
#: One without a word, the usual one with the space at its end, and a long one.
INSTRUCTIONS = ("", "Instruct: Given a question, retrieve passages\nQuery: ", "検索: " + "find " * 9)


@dataclass(frozen=True)
class NvEmbedGolden:
    """ids of each text, instruction and special tokens included; left: how many of them stay out of the mean;
    outputs: float32 [texts, width]."""

    ids: list[list[int]]
    left: list[int]
    outputs: NDArray[np.float32]


def samples() -> list[tuple[str, str]]:
    """Instruction and text: a third of the corpus' sample each."""
    return [(INSTRUCTIONS[number % 3], text) for number, text in enumerate(texts())]


def inputs(directory: Path, limit: int) -> tuple[list[list[int]], list[int]]:
    """As the authors' code makes them: `<s>instruction text</s>`, and as many tokens left out as the instruction has
    by itself. A longer text is cut before its `</s>`."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    ids, left, closing = list[list[int]](), list[int](), tokenizer.token_to_id("</s>") or 0
    for instruction, text in samples():
        body = tokenizer.encode(f"<s>{instruction}{text}", add_special_tokens=False).ids
        ids.append([*body[: limit - 1], closing])
        left.append(min(len(tokenizer.encode(instruction, add_special_tokens=False).ids), limit))
    return ids, left


def save_golden(name: str, golden: NvEmbedGolden) -> Path:
    """ids uint16 end to end, offsets int32 [N+1] into them, left int32 [N], outputs float32."""
    path = FOLDER / f"{name}.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        path,
        ids=np.concatenate([np.array(one, np.uint16) for one in golden.ids]),
        offsets=np.cumsum([0, *map(len, golden.ids)], dtype=np.int32),
        left=np.array(golden.left, np.int32),
        outputs=golden.outputs,
    )
    return path


def load_golden(name: str) -> NvEmbedGolden:
    with np.load(FOLDER / f"{name}.npz") as stored:
        ids = stored["ids"].tolist()
        own = [ids[a:b] for a, b in pairwise(stored["offsets"].tolist())]
        return NvEmbedGolden(own, stored["left"].tolist(), stored["outputs"])
