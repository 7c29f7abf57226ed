"""Checkpoints whose pooling leaves the prompt out, the prompts their goldens are made with, and how these are read."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.checkpoints import TINY_BERTS, write_tiny_bert
from tests.checkpoints_decoders import CLOSING, OPENING, tiny_decoder, write_tiny_decoder
from tests.goldens import decoders

FOLDER = Path(__file__).parent / "prompts"
#: With BERT's: every pooling that a prompt changes, and tokenizers that add tokens around a text or at one end of it.
DECODERS = {
    "around": tiny_decoder("tiny-mistral-mean"),
    "weighted": tiny_decoder("tiny-llama-biases"),
    "before": replace(tiny_decoder("tiny-qwen3-yarn-mscale"), marks=OPENING),
    "behind": replace(tiny_decoder("tiny-qwen2-window"), marks=CLOSING),
}
NAMES = (*(spec.name for spec in TINY_BERTS), *DECODERS)
#: None; the usual; one whose last word the text's first one would join; one that fills a short model.
PROMPTS = ("", "query: ", "Represent this:", "検索クエリ: ", "find " * 70)


@cache
def texts() -> list[str]:
    """Some of them far longer than any model."""
    return decoders.texts()[::3]


def write(name: str, directory: Path, *, reference: bool = False) -> Path:
    """The checkpoint of that name with `include_prompt: false`; with `reference`, as transformers 4 must be told."""
    bert = next((spec for spec in TINY_BERTS if spec.name == name), None)
    if bert is not None:
        write_tiny_bert(bert, directory)
    else:
        write_tiny_decoder(DECODERS[name], directory, reference=reference)
    _edit(directory / "1_Pooling" / "config.json", include_prompt=False)
    if bert is None:
        # As every real checkpoint does: what is behind a prompt is left in where its tokenizer calls it special.
        _edit(directory / "tokenizer_config.json", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    return directory


def _edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


def save_golden(name: str, outputs: NDArray[np.float32]) -> Path:
    """outputs: float32 [prompts, texts, width]."""
    path = FOLDER / f"{name}.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, outputs=outputs)
    return path


def load_golden(name: str) -> NDArray[np.float32]:
    with np.load(FOLDER / f"{name}.npz") as stored:
        return np.asarray(stored["outputs"])
