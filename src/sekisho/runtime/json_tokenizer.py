"""A tokenizer.json, read by the `tokenizers` library."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Parallelism inside one call would take the cores that inference runs on, for a hundredth of the work.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tokenizers import Tokenizer

from sekisho.errors import ConversionFailed
from sekisho.runtime.clip import rule_of
from sekisho.runtime.framing import Frame, read_frame
from sekisho.runtime.spelling import Piece, placed


class JsonTokenizer:
    """The `tokenizers` library; the truncation and padding in its file are not used."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._tokenizer = load_tokenizer(path)
        self.ids = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        single = self._frame(1)
        if single is None:
            raise ConversionFailed(f"{path.name} does not say what goes around a text")
        self.single, self.pair = single, self._frame(2)
        own, values = self._tokenizer.normalizer, json.loads(path.read_text("utf-8"))
        self.unknown = self._unknown(values.get("model") or {})
        self.clip = rule_of(values, own.normalize_str if own is not None else str)

    def _unknown(self, model: Mapping[str, Any]) -> int | None:
        """By its id (Unigram) or its name (the others)."""
        if isinstance(model.get("unk_id"), int):
            return int(model["unk_id"])
        name = model.get("unk_token")
        return None if name is None else self._tokenizer.token_to_id(str(name))

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [each.ids for each in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def pieces(self, text: str) -> list[Piece]:
        """The text's own tokens, each with its place."""
        made = self._tokenizer.encode(text, add_special_tokens=False)
        return placed(text, made.ids, made.offsets)

    def name_of(self, token_id: int) -> str:
        """A token as the vocabulary writes it."""
        return self._tokenizer.id_to_token(token_id) or ""

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        """The text that these tokens stand for."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special))

    def _frame(self, texts: int) -> Frame | None:
        for probe in ("a", "1", "あ", ".", "\U0002a6a5"):  # a static vocabulary may know none of the first
            made = self._tokenizer.encode(probe, probe if texts == 2 else None)
            frame = read_frame(made.ids, made.type_ids, made.sequence_ids, texts)
            if frame is not None:
                return frame
        return None


def load_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer.json without the truncation and padding its author happened to save."""
    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception for a file it cannot read
        raise ConversionFailed(f"{path.name} is not a readable tokenizer: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
