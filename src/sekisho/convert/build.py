"""From a checkpoint directory to the files of a prepared model."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import onnx_ir as ir

from sekisho.contract import (
    GRAPH_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    Contract,
    Kind,
    Pooling,
)
from sekisho.convert.blocks import Graph, Value, l2_normalize, pool
from sekisho.convert.checkpoint import Checkpoint
from sekisho.convert.families import family_for
from sekisho.convert.family import Family, read
from sekisho.errors import ConversionFailed

#: What a graph's reader is told: bytes written, bytes in all.
Progress = Callable[[int, int], None]

#: sentence-transformers' flags in 1_Pooling/config.json.
_POOLING_FLAGS: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_weightedmean_tokens": "weighted_mean",
}


#: The modules of a sentence-transformers pipeline that a graph holds.
_MODULES = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True)
class Choices:
    """What models.yaml says of a model; None means: as the checkpoint says."""

    kind: Kind = "embedding"
    family: str | None = None
    pooling: Pooling | None = None
    normalize: bool | None = None
    max_tokens: int | None = None
    dimensions: int | None = None


def convert_directory(source: Path, target: Path, choices: Choices, progress: Progress | None = None) -> Contract:
    """Like `convert`, into a directory that is made: complete or absent.

    Raises ConversionFailed where it exists already.
    """
    if not source.is_dir():
        raise ConversionFailed(f"{source} is no directory")
    if target.exists():
        raise ConversionFailed(f"{target} exists already: name a directory to make")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        contract = convert(source, staging, choices, progress)
        staging.rename(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return contract


def convert(source: Path, target: Path, choices: Choices, progress: Progress | None = None) -> Contract:
    """Write `target`, an existing empty directory, from the checkpoint in `source`.

    Raises ConversionFailed where the checkpoint is not one we can turn into a graph, OSError where the disk fails.
    """
    if choices.kind != "embedding":
        raise ConversionFailed("only embedding models are converted by this version")
    checkpoint = Checkpoint.open(source)
    _check_modules(checkpoint)
    family = family_for(choices.family or checkpoint.config.get("model_type"))
    origins: dict[str, str] = {"family": "models.yaml" if choices.family else "config.json"}
    pooling = _pooling(checkpoint, choices, origins)
    normalize = _normalize(checkpoint, choices, origins)
    max_tokens = _max_tokens(checkpoint, family, choices, origins)
    with checkpoint.weights(family.rename_weight) as weights:
        graph = Graph(family.name, weights)
        body = family.build(graph, checkpoint.config)
        rows = pool(graph, body.hidden, body.mask, pooling)
        model = graph.finish(_outputs(graph, rows, normalize), body.width)
        _check_left_over(weights.left_over())
        _check_width(choices, body.width)
        _save(model, target, progress)
    _copy_tokenizer(source, target)
    contract = Contract(
        kind=choices.kind,
        family=family.name,
        inputs=body.inputs,
        outputs=tuple(output.name or "" for output in model.graph.outputs),
        width=body.width,
        max_tokens=max_tokens,
        pad_id=read(checkpoint.config, "pad_token_id", int, 0),
        vocabulary=read(checkpoint.config, "vocab_size", int),
        pooling=pooling,
        normalized=normalize,
        parameters=graph.parameters,
        origins=origins,
    )
    contract.write(target)
    return contract


def _pooling(checkpoint: Checkpoint, choices: Choices, origins: dict[str, str]) -> Pooling:
    if choices.pooling:
        if choices.pooling not in get_args(Pooling):
            raise ConversionFailed(f"pooling {choices.pooling!r} is not known; known: {', '.join(get_args(Pooling))}")
        origins["pooling"] = "models.yaml"
        return choices.pooling
    config = checkpoint.module("Pooling")
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
    if isinstance(named, str) and named in get_args(Pooling):
        return named  # type: ignore[return-value]  # checked against Pooling's own members
    asked = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    known = [_POOLING_FLAGS[key] for key in asked if key in _POOLING_FLAGS]
    if len(asked) != 1 or len(known) != 1:
        raise ConversionFailed(
            f"1_Pooling/config.json asks for {asked or named}; one of {list(_POOLING_FLAGS)} is supported"
        )
    return known[0]


def _normalize(checkpoint: Checkpoint, choices: Choices, origins: dict[str, str]) -> bool:
    if choices.normalize is not None:
        origins["normalized"] = "models.yaml"
        return choices.normalize
    origins["normalized"] = "modules.json"
    return checkpoint.module("Normalize") is not None


def _max_tokens(checkpoint: Checkpoint, family: Family, choices: Choices, origins: dict[str, str]) -> int:
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
    origins["max_tokens"] = "config.json"
    return positions


def _outputs(graph: Graph, rows: Value, normalize: bool) -> dict[str, Value]:
    """The sentence vectors; where they are normalised, also the norms, for the client that asks for plain ones."""
    if not normalize:
        return {"embedding": rows}
    unit, norm = l2_normalize(graph, rows)
    return {"embedding": unit, "norm": norm}


def _check_modules(checkpoint: Checkpoint) -> None:
    unknown = [kind for kind, _ in checkpoint.modules if kind not in _MODULES]
    if unknown:
        raise ConversionFailed(
            f"modules.json asks for {', '.join(unknown)}, which would be missing from the graph; "
            f"{', '.join(_MODULES)} are supported"
        )


def _check_left_over(names: list[str]) -> None:
    if names:
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise ConversionFailed(f"weights that the graph has no place for: {shown}. This is another architecture")


def _check_width(choices: Choices, width: int) -> None:
    if choices.dimensions and choices.dimensions != width:
        raise ConversionFailed(f"models.yaml says dimensions {choices.dimensions}, the checkpoint gives {width}")


def _save(model: ir.Model, target: Path, progress: Progress | None) -> None:
    total = sum(
        value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None
    )
    written = 0

    def report(tensor: ir.TensorProtocol, _info: object) -> None:
        nonlocal written
        written += tensor.nbytes
        if progress is not None:
            progress(written, total)

    # 4,096: both engines map the file into memory, and a tensor that starts on a page is shared with the page cache.
    try:
        ir.save(model, target / GRAPH_FILE, external_data=WEIGHTS_FILE, callback=report, alignment=4096)
    except OSError as error:
        if error.errno is None:  # NumPy tells a short write in words alone
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise
    if progress is not None:
        progress(total, total)  # the smallest tensors stay in the graph file, of which nothing is reported


def _copy_tokenizer(source: Path, target: Path) -> None:
    path = source / TOKENIZER_FILE
    if not path.is_file():
        raise ConversionFailed(
            f"{TOKENIZER_FILE} is missing from the checkpoint; no other tokenizer format is read yet"
        )
    shutil.copyfile(path, target / TOKENIZER_FILE)
