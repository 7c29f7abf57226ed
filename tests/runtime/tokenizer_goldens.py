"""Tokenizers as transformers' own classes read them, with the ids that they gave (tests/goldens/make_tokenizers.py)."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sekisho.contract import Contract, Passage, Tokens, Truncation
from sekisho.convert.tokenizers import TokenizerChoice, copy_tokenizer
from sekisho.runtime.tokenizer import TextTokenizer
from tests.goldens_io import GOLDENS

FOLDER = GOLDENS / "tokenizers"
MECAB = ("wordpiece", "wordpiece-lower", "character", "mecab-spm", "line")
SENTENCEPIECE = ("mluke-unigram", "mluke-bpe")
FAST = ("fast-bert", "fast-roberta")
UNLIMITED = 10**6

CONTRACT = Contract(
    kind="embedding",
    family="bert",
    inputs=("input_ids", "attention_mask"),
    outputs=("embedding",),
    width=8,
    max_tokens=UNLIMITED,
    pad_id=0,
    vocabulary=10**5,
    pooling="mean",
    normalized=True,
    parameters=0,
)


@dataclass(frozen=True)
class Pair:
    """Two texts, by their index, cut to `limit` tokens."""

    first: int
    second: int
    limit: int
    ids: list[int]
    types: list[int]


@cache
def texts() -> list[str]:
    stored: list[str] = json.loads((FOLDER / "texts.json").read_text("utf-8"))
    return stored


@cache
def ids_of(name: str) -> list[list[int]]:
    with np.load(FOLDER / name / "ids.npz") as stored:
        return _rows(stored["ids"], stored["lengths"])


@cache
def pairs_of(name: str) -> list[Pair]:
    with np.load(FOLDER / name / "ids.npz") as stored:
        ids = _rows(stored["pair_ids"], stored["pair_lengths"])
        types = _rows(stored["pair_types"], stored["pair_lengths"])
        return [Pair(*asked, *made) for asked, *made in zip(stored["pairs"].tolist(), ids, types, strict=True)]


def _rows(flat: NDArray[np.int16], lengths: NDArray[np.int32]) -> list[list[int]]:
    ends = [0, *np.cumsum(lengths).tolist()]
    return [flat[start:end].tolist() for start, end in pairwise(ends)]


@cache
def _home() -> tempfile.TemporaryDirectory[str]:
    """Removed when the tests end."""
    return tempfile.TemporaryDirectory()


@cache
def _prepared(name: str) -> tuple[Path, Contract]:
    folder = Path(_home().name) / name
    folder.mkdir()
    return folder, replace(CONTRACT, tokenizer=copy_tokenizer(FOLDER / name, folder))


def tokenizer(name: str, limit: int = UNLIMITED, **changes: object) -> TextTokenizer:
    folder, contract = _prepared(name)
    return TextTokenizer(folder, replace(contract, max_tokens=limit, **changes))  # type: ignore[arg-type]


def from_files(source: Path, target: Path, choice: TokenizerChoice = "auto") -> TextTokenizer:
    """The tokenizer of a checkpoint folder, prepared in `target`."""
    target.mkdir(exist_ok=True)
    return TextTokenizer(target, replace(CONTRACT, tokenizer=copy_tokenizer(source, target, choice)))


def ids(own: TextTokenizer, text: str, truncation: Truncation = "end") -> list[int]:
    return list(one(own, text, truncation).ids)


def one(own: TextTokenizer, text: str, truncation: Truncation = "end") -> Tokens:
    return own.encode([Passage(text)], truncation)[0]


def recorded(own: TextTokenizer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that it tokenises from now on."""
    read: list[str] = []
    encode = own._splitter.encode

    def recording(given: list[str]) -> list[list[int]]:
        read.extend(given)
        return encode(given)

    monkeypatch.setattr(own._splitter, "encode", recording)
    return read
