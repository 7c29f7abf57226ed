"""What the files beside a ready-made graph say of it: its longest input, its vocabulary, its padding.

Any architecture will do, and config.json may be missing: what it would say is then looked for in the graph and in the
tokenizer's own files.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from sekisho.contract import TOKENIZER_FILE, Kind
from sekisho.convert.blocks import Graph
from sekisho.convert.checkpoint import CONFIG_FILE, Checkpoint, read_json
from sekisho.convert.decisions import Choices
from sekisho.convert.families import family_for
from sekisho.convert.family import Body, Config, Family, read
from sekisho.errors import ConversionFailed

_TOKENIZER_CONFIG = "tokenizer_config.json"
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
#: transformers writes this and more where a tokenizer knows no limit.
_NO_LIMIT = 1_000_000
#: Where nothing says how long an input may be.
_DEFAULT_TOKENS = 512
#: Families that count positions from the padding id + 1, and only where there is text.
AFTER_PADDING = frozenset({"xlm-roberta", "roberta", "camembert", "luke", "mpnet", "data2vec-text"})
_PADDING = ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>")


def open_described(source: Path) -> Checkpoint:
    """The checkpoint's files but for its weights; without a config.json, one that says nothing."""
    return Checkpoint.open(source) if (source / CONFIG_FILE).is_file() else Checkpoint(source, {}, (), None)


def tokenizer_directory(source: Path, onnx: str) -> Path:
    """Beside the config where the tokenizer's files are there, else beside the graph."""
    beside = (source / onnx).parent
    there = any(path.name in {TOKENIZER_FILE, "vocab.txt"} or path.suffix == ".model" for path in source.iterdir())
    return source if there else beside


def described_family(checkpoint: Checkpoint, tokenizer: Path, choices: Choices, origins: dict[str, str]) -> Family:
    """The family that config.json names; where we have none such, what its files say in the place of one."""
    name = choices.family or checkpoint.config.get("model_type")
    origins["family"] = "models.yaml" if choices.family else CONFIG_FILE if name else "default"
    try:
        return family_for(name)
    except ConversionFailed:  # an architecture whose graph is somebody else's business
        stated = _positions(checkpoint.config, tokenizer)
        positions = stated[0] if stated else sys.maxsize
        origins["positions"] = stated[1] if stated else "default"
        return Family(
            name=str(name or "onnx"), model_types=(), rename=(), unused=(), head=(), positions=lambda _: positions,
            build=_built_elsewhere, default_tokens=None if stated else _DEFAULT_TOKENS,
        )  # fmt: skip


def _built_elsewhere(_g: Graph, _config: Config, _kind: Kind) -> Body:
    raise ConversionFailed("the graph is ready-made: there is nothing to build it from")


def _positions(config: Config, tokenizer: Path) -> tuple[int, str] | None:
    """The longest input and the file that says so; None where none does."""
    stated = [config[key] for key in _POSITIONS if isinstance(config.get(key), int)]
    if stated:
        # RoBERTa's kind counts from the padding id + 1, so the first rows of its table are never used.
        unused = config.get("pad_token_id", 1) + 1 if config.get("model_type") in AFTER_PADDING else 0
        return min(stated) - unused, CONFIG_FILE
    limit = _object(tokenizer / _TOKENIZER_CONFIG).get("model_max_length")
    if isinstance(limit, int) and 2 <= limit < _NO_LIMIT:
        return limit, _TOKENIZER_CONFIG
    limit = (_object(tokenizer / TOKENIZER_FILE).get("truncation") or {}).get("max_length")
    if isinstance(limit, int) and limit >= 2:
        return limit, TOKENIZER_FILE
    return None


def vocabulary_size(
    name: str, rows: int | None, checkpoint: Checkpoint, tokenizer: Path, origins: dict[str, str]
) -> int:
    """Rows of the graph's table, which config.json must agree with; what else says so where the table is not found."""
    stated = read(checkpoint.config, "vocab_size", int, rows or -1) if checkpoint.config else rows or -1
    if rows is not None:
        if stated != rows:
            raise ConversionFailed(
                f"{name} looks ids up in a table of {rows:,} rows, {CONFIG_FILE} says vocab_size {stated:,}: they are "
                "of two models"
            )
        origins["vocabulary"] = name
        return rows
    if stated > 0:
        return stated
    origins["vocabulary"] = TOKENIZER_FILE
    return _tokenizer(tokenizer).get_vocab_size()


def pad_id(checkpoint: Checkpoint, tokenizer: Path) -> int:
    """config.json's, else that of the token that the tokenizer's own files name."""
    if checkpoint.config:
        return read(checkpoint.config, "pad_token_id", int, 0)
    if not (tokenizer / TOKENIZER_FILE).is_file():
        return 0
    named = _object(tokenizer / _TOKENIZER_CONFIG).get("pad_token")
    content = named.get("content") if isinstance(named, dict) else named
    known = _tokenizer(tokenizer)
    ids = (known.token_to_id(token) for token in (content, *_PADDING) if isinstance(token, str))
    return next((number for number in ids if number is not None), 0)


def _tokenizer(directory: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(directory / TOKENIZER_FILE))
    except Exception as error:  # the library raises nothing more specific
        raise ConversionFailed(
            f"nothing says how many token ids there are: {CONFIG_FILE} is missing and {TOKENIZER_FILE} is not readable "
            f"({error})"
        ) from None


def _object(path: Path) -> Mapping[str, Any]:
    value = read_json(path) if path.is_file() else {}
    return value if isinstance(value, dict) else {}
