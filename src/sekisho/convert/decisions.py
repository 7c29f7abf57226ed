"""What models.yaml and the checkpoint's own files say together; models.yaml wins.

Each answer notes where it came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from tokenizers import Tokenizer

from sekisho.contract import TOKENIZER_FILE, Kind, Normalization, Pooling
from sekisho.convert.checkpoint import Checkpoint
from sekisho.convert.family import Family
from sekisho.convert.tokenizers import TokenizerChoice
from sekisho.errors import ConversionFailed

#: sentence-transformers' flags in 1_Pooling/config.json.
_POOLING_FLAGS: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_weightedmean_tokens": "weighted_mean",
}
#: Its names for them, of which newer files hold one, and ours.
_POOLING_NAMES: dict[object, Pooling] = {
    "cls": "cls",
    "mean": "mean",
    "max": "max",
    "lasttoken": "last",
    "last": "last",
    "weightedmean": "weighted_mean",
    "weighted_mean": "weighted_mean",
}


@dataclass(frozen=True)
class Choices:
    """What models.yaml says of a model; None means: as the checkpoint says.

    heads: outputs beside the usual one: `sparse` and `colbert` of an embedding model (bge-m3); `yes_no` takes a
        reranker's score from its language-model head even where it has one for classification.
    yes_no: token ids of the two answers of a reranker that is a language model, the one that means relevant first.
    """

    kind: Kind = "embedding"
    family: str | None = None
    pooling: Pooling | None = None
    normalize: bool | None = None
    max_tokens: int | None = None
    dimensions: int | None = None
    heads: tuple[str, ...] = ()
    yes_no: tuple[int, int] | None = None
    tokenizer: TokenizerChoice = "auto"
    normalization: Normalization = "none"


def pooling(checkpoint: Checkpoint, family: Family, choices: Choices, origins: dict[str, str]) -> Pooling:
    """How tokens become one vector. Raises ConversionFailed where nobody says so."""
    if choices.pooling:
        if choices.pooling not in get_args(Pooling):
            raise ConversionFailed(f"pooling {choices.pooling!r} is not known; known: {', '.join(get_args(Pooling))}")
        if "latent" in {choices.pooling, family.pooling} and choices.pooling != family.pooling:
            raise ConversionFailed(f"pooling {choices.pooling!r}: the family {family.name!r} has none such")
        origins["pooling"] = "models.yaml"
        return choices.pooling
    config = checkpoint.module("Pooling")
    if family.pooling == "latent":
        if config is not None and _pooling_of(config) != "mean":
            raise ConversionFailed(f"1_Pooling/config.json is no mean, and {family.name!r} ends in one")
        origins["pooling"] = "config.json"
        return "latent"
    if config is None and family.pooling:
        origins["pooling"] = "modules.json"
        return family.pooling
    if config is None:
        raise ConversionFailed(
            "the checkpoint does not say how its tokens become one vector (no 1_Pooling/config.json): "
            f"set `pooling` in models.yaml to one of {', '.join(get_args(Pooling))}"
        )
    origins["pooling"] = "1_Pooling/config.json"
    return _pooling_of(config)


def _pooling_of(config: Mapping[str, Any]) -> Pooling:
    """Newer files name the mode (`pooling_mode`), older ones hold a flag each; several at once mean concatenation."""
    named = config.get("pooling_mode")
    if isinstance(named, str) and named in _POOLING_NAMES:
        return _POOLING_NAMES[named]
    asked = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    known = [_POOLING_FLAGS[key] for key in asked if key in _POOLING_FLAGS]
    if len(asked) != 1 or len(known) != 1:
        raise ConversionFailed(
            f"1_Pooling/config.json asks for {asked or named}; one of {list(_POOLING_FLAGS)} is supported"
        )
    return known[0]


def prompt_apart(checkpoint: Checkpoint, family: Family, how: Pooling) -> bool:
    """Whether the prompt's tokens are read but stay out of the vector (`include_prompt: false`).

    The last token is never the prompt's.
    """
    if family.prompt_apart:
        return family.prompt_apart(checkpoint.config)
    config = checkpoint.module("Pooling")
    return config is not None and config.get("include_prompt") is False and how != "last"


def normalize(checkpoint: Checkpoint, family: Family, choices: Choices, origins: dict[str, str]) -> bool:
    """Whether the pipeline ends in a Normalize module, or the model itself does what that would."""
    if choices.normalize is not None:
        origins["normalized"] = "models.yaml"
        return choices.normalize
    if family.normalized and family.normalized(checkpoint.config):
        origins["normalized"] = "config.json"
        return True
    origins["normalized"] = "modules.json"
    return checkpoint.module("Normalize") is not None


def max_tokens(checkpoint: Checkpoint, family: Family, choices: Choices, origins: dict[str, str]) -> int:
    """The longest input, special tokens included."""
    positions = family.positions(checkpoint.config)
    if choices.max_tokens:
        if choices.max_tokens > positions:
            raise ConversionFailed(
                f"max_tokens {choices.max_tokens} in models.yaml is more than the checkpoint's {positions} positions"
            )
        origins["max_tokens"] = "models.yaml"
        return choices.max_tokens
    if checkpoint.max_length:
        origins["max_tokens"] = "sentence_bert_config.json"
        return min(checkpoint.max_length, positions)
    origins["max_tokens"] = "default" if family.default_tokens else "config.json"
    return family.default_tokens or positions


def yes_no(checkpoint: Checkpoint, choices: Choices, origins: dict[str, str]) -> tuple[int, int]:
    """Ids of the tokens `yes` and `no`. Raises ConversionFailed where the tokenizer has no such token."""
    if choices.yes_no:
        origins["yes_no"] = "models.yaml"
        return choices.yes_no
    path = checkpoint.root / TOKENIZER_FILE
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more specific
        raise ConversionFailed(f"{path.name} is not a readable tokenizer: {error}") from None
    yes, no = tokenizer.token_to_id("yes"), tokenizer.token_to_id("no")
    if yes is None or no is None:
        raise ConversionFailed(f"{path.name} has no token `yes` or no token `no`: set `yes_no` in models.yaml")
    origins["yes_no"] = path.name
    return yes, no
