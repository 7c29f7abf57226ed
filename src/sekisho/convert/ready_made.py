"""A ready-made ONNX file → a prepared model: its inputs and outputs made those of the contract, its numbers kept.

The file is what the registry names under `onnx` or `variants`, or a person's own. What it computes is its author's
word; what is added after it (pooling, Dense modules, normalisation) is what `build.py` adds to a graph of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from sekisho.contract import GRAPH_FILE, POOLING_MASK, Contract, Pooling, Precision
from sekisho.convert import trial
from sekisho.convert.any_opset import Extension, activation, l2_normalize, linear, pool
from sekisho.convert.build import Progress, save
from sekisho.convert.checkpoint import Checkpoint, Module
from sekisho.convert.decisions import Choices, max_tokens, normalize, pooling, prompt_apart
from sekisho.convert.family import Family, labels, read
from sekisho.convert.ready_facts import (
    described_family,
    open_described,
    pad_id,
    tokenizer_directory,
    vocabulary_size,
)
from sekisho.convert.ready_graph import ReadyGraph, count_parameters, open_graph, table_rows
from sekisho.convert.ready_inputs import Taken, take_inputs
from sekisho.convert.tokenizers import copy_tokenizer
from sekisho.errors import ConversionFailed

#: What exporters, and we, call the vector of a whole text, the vectors of its tokens, and the scores of a pair.
_VECTOR = ("sentence_embedding", "embedding")
_HIDDEN = ("token_embeddings", "last_hidden_state")
_LOGITS = "logits"
#: The modules of a sentence-transformers pipeline that are put after a graph of tokens.
_MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


@dataclass(frozen=True)
class _Work:
    """One conversion under way; `origins` is filled as its questions are answered."""

    ready: ReadyGraph
    extension: Extension
    taken: Taken
    checkpoint: Checkpoint
    family: Family
    choices: Choices
    origins: dict[str, str]


@dataclass(frozen=True)
class _Made:
    """outputs: by the contract's names, in order. width: of the first, None where the file does not say."""

    outputs: Mapping[str, ir.Value]
    width: int | None
    pooling: Pooling | None = None
    normalized: bool = False
    inputs: tuple[str, ...] = ()


def convert_ready_made(
    source: Path, onnx: str, target: Path, choices: Choices, precision: Precision = "auto",
    progress: Progress | None = None,
) -> Contract:  # fmt: skip
    """Write `target`, an existing empty directory, from the graph `onnx` in `source` and the files beside it.

    precision: what models.yaml asks for; a graph that computes in something else is refused.

    Raises ConversionFailed where the file is no graph that can be served, or another model's than the files beside it
    describe, OSError where the disk fails.
    """
    ready = open_graph(source, onnx)
    _check_precision(ready, precision)
    checkpoint, tokenizer = open_described(source), tokenizer_directory(source, onnx)
    origins = {"parameters": onnx, "numbers": onnx, "width": onnx}
    family = described_family(checkpoint, tokenizer, choices, origins)
    limit = _limit(checkpoint, family, choices, origins)
    extension = Extension(ready.model.graph, ready.opset)
    taken = take_inputs(ready, extension, checkpoint.config, family.name)
    vocabulary = vocabulary_size(onnx, table_rows(taken.ids), checkpoint, tokenizer, origins)
    parameters = count_parameters(ready.model)
    work = _Work(ready, extension, taken, checkpoint, family, choices, origins)
    made = _scores(work) if choices.kind == "reranker" else _vectors(work)
    _name_outputs(ready.model, made)
    if made.width is not None:
        _check_width(onnx, choices, made.width)
    inputs, outputs = taken.names + made.inputs, tuple(made.outputs)
    save(ready.model, target, progress)
    trial.check(target / GRAPH_FILE, onnx)
    width = trial.run(target / GRAPH_FILE, onnx, inputs, outputs, vocabulary, limit, ready.numbers)
    _check_width(onnx, choices, width)
    contract = Contract(
        kind=choices.kind,
        family=family.name,
        inputs=inputs,
        outputs=outputs,
        width=width,
        max_tokens=limit,
        pad_id=pad_id(checkpoint, tokenizer),
        vocabulary=vocabulary,
        pooling=made.pooling,
        normalized=made.normalized,
        parameters=parameters,
        tokenizer=copy_tokenizer(tokenizer, target, choices.tokenizer, family.frame),
        special_tokens=family.special_tokens,
        normalization=choices.normalization,
        numbers=ready.numbers,
        graph=onnx,
        engine="onnxruntime" if ready.contrib or ready.numbers == "dynamic_int8" else None,
        origins=origins,
    )
    contract.write(target)
    return contract


def _check_precision(ready: ReadyGraph, precision: Precision) -> None:
    quantised = ready.numbers != "float"
    if precision == "int8" and not quantised:
        raise ConversionFailed(
            f"{ready.name} is not quantised, and models.yaml says `precision: int8`: leave `onnx` out, and int8 is "
            "made from the weights, or name a quantised file"
        )
    if precision in {"fp32", "bf16"} and quantised:
        raise ConversionFailed(
            f"{ready.name} is quantised, and models.yaml says `precision: {precision}`: say `precision: int8` or "
            "`auto`, or name another file"
        )


def _limit(checkpoint: Checkpoint, family: Family, choices: Choices, origins: dict[str, str]) -> int:
    limit = max_tokens(checkpoint, family, choices, origins)
    stated = origins.pop("positions", None)
    if stated is not None and origins["max_tokens"] == "config.json":
        origins["max_tokens"] = stated
    return limit


def _vectors(work: _Work) -> _Made:
    """The file's own vector as it is; else pooling, the pipeline's Dense modules and normalisation after its tokens."""
    if work.choices.heads:
        raise ConversionFailed(f"heads {', '.join(work.choices.heads)} are made from the weights: leave `onnx` out")
    found, whole = _embedding_output(work.ready)
    how: Pooling | None = None
    inputs: tuple[str, ...] = ()
    rows, width = _float32(work.extension, found), _last_axis(found)
    if not whole:
        rows, width, how, inputs = _pooled(work, rows, width)
    unit = normalize(work.checkpoint, work.family, work.choices, work.origins)
    if not unit:
        return _Made({"embedding": rows}, width, how, inputs=inputs)
    rows, norm = l2_normalize(work.extension, rows)
    return _Made({"embedding": rows, "norm": norm}, width, how, normalized=True, inputs=inputs)


def _embedding_output(ready: ReadyGraph) -> tuple[ir.Value, bool]:
    """The output to take, and whether it is a vector for the whole text."""
    outputs = {str(value.name): value for value in ready.model.graph.outputs}
    whole = next((outputs[name] for name in _VECTOR if name in outputs), None)
    if whole is not None:
        return whole, True
    hidden = next((outputs[name] for name in _HIDDEN if name in outputs), None)
    if hidden is None and len(outputs) == 1:
        (only,) = outputs.values()
        if only.shape is not None and len(only.shape) == 2 and only.name != _LOGITS:
            return only, True
        hidden = only if only.shape is not None and len(only.shape) == 3 and only.name != _LOGITS else None
    if hidden is None or (hidden.shape is not None and len(hidden.shape) != 3):
        shown = ", ".join(f"{name} {value.shape}" for name, value in outputs.items())
        raise ConversionFailed(
            f"{ready.name} gives {shown}; a vector model gives {_VECTOR[0]}, {' or '.join(_HIDDEN)}, or one output "
            "alone"
        )
    return hidden, False


def _pooled(work: _Work, hidden: ir.Value, width: int | None) -> tuple[ir.Value, int | None, Pooling, tuple[str, ...]]:
    stated = work.checkpoint.config.get("hidden_size")
    if width is not None and isinstance(stated, int) and stated != width:
        raise ConversionFailed(
            f"{work.ready.name} gives {width} numbers a token, config.json says hidden_size {stated}: they are of two "
            "models"
        )
    how = pooling(work.checkpoint, work.family, work.choices, work.origins)
    apart = prompt_apart(work.checkpoint, work.family, how)
    mask = work.taken.mask
    if apart:
        mask = ir.Value(name=POOLING_MASK, type=ir.TensorType(ir.DataType.INT32), shape=ir.Shape(["rows", "length"]))
        work.ready.model.graph.inputs.append(mask)
    rows = pool(work.extension, hidden, mask, how, after_prompt=apart)
    for module in work.checkpoint.modules:
        if module.kind not in _MODULES:
            raise ConversionFailed(
                f"modules.json asks for {module.kind}, which would be missing from the graph; "
                f"{', '.join(_MODULES)} are supported"
            )
        if module.kind == "Dense":
            rows, width = _dense(work.extension, rows, width, module)
    return rows, width, how, (POOLING_MASK,) if apart else ()


def _dense(e: Extension, rows: ir.Value, width: int | None, module: Module) -> tuple[ir.Value, int]:
    where = f"{module.path}/config.json"
    inputs = read(module.config, "in_features", int, where=where)
    outputs = read(module.config, "out_features", int, where=where)
    if width is not None and inputs != width:
        raise ConversionFailed(f"{where} takes {inputs} features, the vectors before it have {width}")
    weights = module.weights()
    bias = weights.take("linear.bias", outputs) if module.config.get("bias", True) else None
    rows = linear(e, rows, weights.take("linear.weight", outputs, inputs), bias)
    kind = str(module.config.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    return activation(e, kind, rows), outputs


def _scores(work: _Work) -> _Made:
    """The raw logits. Raises ConversionFailed for a language model's, one for each word."""
    outputs = {str(value.name): value for value in work.ready.model.graph.outputs}
    logits = outputs.get(_LOGITS) or (next(iter(outputs.values())) if len(outputs) == 1 else None)
    if logits is None or (logits.shape is not None and len(logits.shape) != 2) or work.choices.heads:
        shown = ", ".join(f"{name} {value.shape}" for name, value in outputs.items())
        raise ConversionFailed(
            f"{work.ready.name} gives {shown}; a reranker gives {_LOGITS}, a row for each pair. A language model that "
            "is asked yes or no is made from the weights: leave `onnx` out"
        )
    width = _last_axis(logits)
    stated = labels(work.checkpoint.config) if {"id2label", "num_labels"} & set(work.checkpoint.config) else width
    if width is not None and stated != width:
        raise ConversionFailed(
            f"{work.ready.name} gives {width} scores a pair, config.json has {stated} labels: they are of two models"
        )
    return _Made({"logits": _float32(work.extension, logits)}, width)


def _last_axis(value: ir.Value) -> int | None:
    size = value.shape[-1] if value.shape is not None and len(value.shape) else None
    return size if isinstance(size, int) else None


def _float32(e: Extension, value: ir.Value) -> ir.Value:
    if value.dtype not in _FLOATS:
        raise ConversionFailed(f"the output {value.name} is {value.dtype}, expected floats")
    return value if value.dtype == ir.DataType.FLOAT else e.node("Cast", value, to=int(ir.DataType.FLOAT))


def _name_outputs(model: ir.Model, made: _Made) -> None:
    """The contract's outputs in place of the file's, whatever else the file called so."""
    for node in model.graph:
        for value in node.outputs:
            if value.name in made.outputs:
                value.name = f"sekisho.was.{value.name}"
    model.graph.outputs.clear()
    for name, value in made.outputs.items():
        value.name = name
        value.type = ir.TensorType(ir.DataType.FLOAT)
        value.shape = ir.Shape(["rows", 1 if name == "norm" else made.width or "width"])
        model.graph.outputs.append(value)


def _check_width(name: str, choices: Choices, width: int) -> None:
    if choices.dimensions and choices.dimensions != width:
        raise ConversionFailed(f"models.yaml says dimensions {choices.dimensions}, {name} gives {width}")
