"""From a checkpoint directory to the files of a prepared model."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir as ir

from sekisho.contract import (
    GRAPH_FILE,
    POOLING_MASK,
    WEIGHTS_FILE,
    Contract,
)
from sekisho.convert.blocks import Graph, Output, Value, activation, l2_normalize, linear, pool
from sekisho.convert.checkpoint import STATIC_MODULE, Checkpoint, Module
from sekisho.convert.decisions import Choices, max_tokens, normalize, pooling, prompt_apart, yes_no
from sekisho.convert.families import family_for
from sekisho.convert.family import Body, Family, labels, read
from sekisho.convert.sealing import seal
from sekisho.convert.staging import new_directory
from sekisho.convert.token_heads import token_heads
from sekisho.convert.tokenizers import copy_tokenizer
from sekisho.errors import ConversionFailed

#: What a graph's reader is told: bytes written, bytes in all.
Progress = Callable[[int, int], None]

#: The modules of a sentence-transformers pipeline that a graph holds.
_MODULES = ("Transformer", STATIC_MODULE, "Pooling", "Dense", "Normalize")


def convert_directory(
    source: Path,
    target: Path,
    choices: Choices,
    progress: Progress | None = None,
    finish: Callable[[Path], object] | None = None,
) -> Contract:
    """Like `convert`, into a directory that is made: complete or absent, with its digests in its contract.

    finish: what is done to the files before they are sealed; what it raises leaves nothing.

    Raises ConversionFailed where it exists already or is being made, StorageFull where it cannot be written.
    """
    if not source.is_dir():
        raise ConversionFailed(f"{source} is no directory")
    with new_directory(target) as staging:
        convert(source, staging, choices, progress)
        if finish is not None:
            finish(staging)
        return seal(staging)


def convert(source: Path, target: Path, choices: Choices, progress: Progress | None = None) -> Contract:
    """Write `target`, an existing empty directory, from the checkpoint in `source`.

    Raises ConversionFailed where the checkpoint is not one we can turn into a graph, OSError where the disk fails.
    """
    checkpoint = Checkpoint.open(source)
    _check_modules(checkpoint)
    origins: dict[str, str] = {}
    family = _family(checkpoint, choices, origins)
    limit = max_tokens(checkpoint, family, choices, origins)
    weights = checkpoint.weights(family.renamer(choices.kind))
    graph = Graph(family.name, weights, limit)
    body = family.build(graph, checkpoint.config, choices.kind)
    if choices.kind == "reranker":
        outputs, facts = _scores(graph, family, checkpoint, choices, body, origins)
    else:
        outputs, facts = _vectors(graph, family, checkpoint, choices, body, origins)
    model = graph.finish(outputs)
    _check_left_over(weights.left_over())
    _check_width(choices, outputs[0].width)
    save(model, target, progress)
    tokenizer = copy_tokenizer(checkpoint.root, target, choices.tokenizer, family.frame)
    contract = Contract(
        kind=choices.kind,
        family=family.name,
        outputs=tuple(output.name for output in outputs),
        width=outputs[0].width,
        max_tokens=limit,
        pad_id=read(checkpoint.config, "pad_token_id", int, 0),
        vocabulary=body.vocabulary or read(checkpoint.config, "vocab_size", int),
        parameters=graph.parameters,
        tokenizer=tokenizer,
        special_tokens=family.special_tokens,
        normalization=choices.normalization,
        origins=origins,
        **facts,
    )
    contract.write(target)
    return contract


def _family(checkpoint: Checkpoint, choices: Choices, origins: dict[str, str]) -> Family:
    if choices.family:
        origins["family"] = "models.yaml"
        return family_for(choices.family)
    if checkpoint.modules and checkpoint.modules[0].kind == STATIC_MODULE:
        origins["family"] = "modules.json"
        return family_for("static")
    origins["family"] = "config.json"
    return family_for(checkpoint.config.get("model_type"))


def _vectors(
    graph: Graph, family: Family, checkpoint: Checkpoint, choices: Choices, body: Body, origins: dict[str, str]
) -> tuple[list[Output], dict[str, Any]]:
    """Pooling, the pipeline's dense layers, normalisation."""
    how, unit = pooling(checkpoint, family, choices, origins), normalize(checkpoint, family, choices, origins)
    apart = prompt_apart(checkpoint, family, how)
    counted = graph.input(POOLING_MASK) if apart else body.mask
    rows, width = pool(graph, body.hidden, counted, how, after_prompt=apart), body.width
    for module in checkpoint.modules:
        if module.kind == "Dense":
            rows, width = _dense(graph, rows, width, module)
    outputs = [Output("embedding", rows, width)]
    if unit:
        rows, norm = l2_normalize(graph, rows)
        # The norms are for the client that asks for plain vectors.
        outputs = [Output("embedding", rows, width), Output("norm", norm, 1)]
    outputs += token_heads(graph, checkpoint, body, choices.heads)
    inputs = (*body.inputs, POOLING_MASK) if apart else body.inputs
    return outputs, {"inputs": inputs, "pooling": how, "normalized": unit}


def _dense(graph: Graph, rows: Value, width: int, module: Module) -> tuple[Value, int]:
    """sentence_transformers.models.Dense: a linear layer with weights of its own, then an activation."""
    where = f"{module.path}/config.json"
    inputs = read(module.config, "in_features", int, where=where)
    outputs = read(module.config, "out_features", int, where=where)
    if inputs != width:
        raise ConversionFailed(f"{where} takes {inputs} features, the vectors before it have {width}")
    name = module.path
    weights = module.weights()
    with graph.reading(weights):
        rows = linear(graph, rows, "linear", inputs, outputs, bias=bool(module.config.get("bias", True)), label=name)
    _check_left_over(weights.left_over())
    act = str(module.config.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    return (rows if act == "Identity" else activation(act.lower())(graph, rows)), outputs


def _scores(
    graph: Graph, family: Family, checkpoint: Checkpoint, choices: Choices, body: Body, origins: dict[str, str]
) -> tuple[list[Output], dict[str, Any]]:
    """The classification head's raw logits, or how much a language model prefers yes to no.

    What a sigmoid makes of them is the service's question.
    """
    if choices.heads not in {(), ("yes_no",)} or (choices.heads and not family.answer):
        raise ConversionFailed(f"heads {', '.join(choices.heads)}: a reranker of family {family.name!r} has none such")
    if family.answer and (choices.heads or choices.yes_no or "score.weight" not in graph.weights):
        words = yes_no(checkpoint, choices, origins)
        logits = Output("logits", family.answer(graph, checkpoint.config, body, words), 1)
    elif family.classify:
        logits = Output("logits", family.classify(graph, checkpoint.config, body), labels(checkpoint.config))
    else:
        raise ConversionFailed(f"the family {family.name!r} has no classification head")
    return [logits], {"inputs": body.inputs, "pooling": None, "normalized": False}


def _check_modules(checkpoint: Checkpoint) -> None:
    unknown = [module.kind for module in checkpoint.modules if module.kind not in _MODULES]
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


def save(model: ir.Model, target: Path, progress: Progress | None) -> None:
    """Write a graph, its weights beside it. Raises OSError where the disk fails."""
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
    # onnx_ir aligns those above 1 MiB; the rest are too small for a copy to matter, and lie side by side.
    try:
        ir.save(model, target / GRAPH_FILE, external_data=WEIGHTS_FILE, callback=report, alignment=4096)
    except OSError as error:
        if error.errno is None:  # NumPy tells a short write in words alone
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise
    if progress is not None:
        progress(total, total)  # the smallest tensors stay in the graph file, of which nothing is reported
