"""Checkpoints as large as the real ones, of random weights: what converting, loading and the longest input take.

Each step runs in a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from sekisho.contract import Contract
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from tests.checkpoints import BERT_MARKS
from tests.checkpoints_encoders import (
    LLAMA_MARKS,
    ROBERTA_MARKS,
    TinyEncoder,
    bert,
    deberta_reranker,
    gte,
    modernbert,
    modernbert_reranker,
    roberta_reranker,
    write_tiny_encoder,
)

_ENGINES = ("onnxruntime", "openvino")


def _ruri(layers: int, hidden: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "modernbert",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "vocab_size": 102_400,
        "max_position_embeddings": 8192,
        "global_attn_every_n_layers": 3,
        "local_attention": 128,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 10000.0,
        "norm_eps": 1e-5,
        "hidden_activation": "gelu",
        "classifier_bias": False,
        "classifier_pooling": "cls",
        "pad_token_id": 3,
        "id2label": {"0": "LABEL_0"},
    }


def _bert(kind: str, layers: int, hidden: int, heads: int, vocabulary: int, positions: int) -> dict[str, Any]:
    return {
        "model_type": kind,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "type_vocab_size": 1 if kind == "xlm-roberta" else 2,
        "layer_norm_eps": 1e-5 if kind == "xlm-roberta" else 1e-12,
        "hidden_act": "gelu",
        "pad_token_id": 1 if kind == "xlm-roberta" else 0,
        "id2label": {"0": "LABEL_0"},
    }


_GTE = {
    "model_type": "new",
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "vocab_size": 250_048,
    "max_position_embeddings": 8192,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-12,
    "layer_norm_type": "layer_norm",
    "hidden_act": "gelu",
    "position_embedding_type": "rope",
    "rope_theta": 20000.0,
    "rope_scaling": {"type": "ntk", "factor": 8.0},
    "pad_token_id": 1,
}
_DEBERTA = {
    **_bert("deberta-v2", 24, 1024, 16, 128_100, 512),
    "type_vocab_size": 0,
    "layer_norm_eps": 1e-7,
    "relative_attention": True,
    "position_biased_input": False,
    "max_relative_positions": -1,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
}
_RURI_310M = TinyEncoder("ruri-v3-310m", 1, _ruri(25, 768, 12), modernbert, 8192, normalize=False, marks=LLAMA_MARKS)

MODELS = (
    TinyEncoder("ruri-v3-30m", 1, _ruri(10, 256, 4), modernbert, 8192, normalize=False, marks=LLAMA_MARKS),
    _RURI_310M,
    replace(_RURI_310M, name="ruri-v3-reranker-310m", fill=modernbert_reranker, kind="reranker"),
    TinyEncoder("paraphrase-MiniLM-L12", 1, _bert("bert", 12, 384, 12, 250_037, 512), bert, 512, normalize=False),
    TinyEncoder("ruri-large", 1, _bert("bert", 24, 1024, 16, 32_768, 512), bert, 512, marks=BERT_MARKS),
    TinyEncoder("gte-multilingual-base", 1, _GTE, gte, 8192, pooling="cls", marks=ROBERTA_MARKS),
    TinyEncoder("mxbai-rerank-large-v1", 1, _DEBERTA, deberta_reranker, 512, kind="reranker"),
    TinyEncoder(
        "bge-reranker-v2-m3",
        1,
        _bert("xlm-roberta", 24, 1024, 16, 250_002, 8194),
        roberta_reranker,
        8192,
        kind="reranker",
        marks=ROBERTA_MARKS,
    ),
)


def _make(spec: TinyEncoder, folder: Path) -> dict[str, Any]:
    source = write_tiny_encoder(spec, folder / "source")
    return {"bytes": (source / "model.safetensors").stat().st_size}


def _convert(spec: TinyEncoder, folder: Path) -> dict[str, Any]:
    start = time.perf_counter()
    convert_directory(folder / "source", folder / "prepared", Choices(kind=spec.kind, family=spec.family))
    return {"seconds": time.perf_counter() - start}


def _run(engine: str, folder: Path, length: int, rows: int) -> dict[str, Any]:
    """Load, one input of two tokens, then `rows` of `length` tokens."""
    contract, directory = Contract.read(folder / "prepared"), folder / "prepared"
    start = time.perf_counter()
    session = _session(engine, directory, contract)
    rng = np.random.Generator(np.random.PCG64(1))
    given = {name: np.zeros((rows, length), np.int32) for name in contract.inputs}
    given["attention_mask"][:] = 1
    given["input_ids"][:] = rng.integers(4, contract.vocabulary, (rows, length))
    session.run(0, {name: np.ascontiguousarray(value[:1, :2]) for name, value in given.items()})
    loaded, resident = time.perf_counter() - start, _peak()
    start = time.perf_counter()
    outputs = session.run(0, given)
    seconds = time.perf_counter() - start
    if not all(np.isfinite(part).all() for part in outputs):
        raise AssertionError("the outputs are not finite")
    return {"load_seconds": loaded, "load_peak": resident, "seconds": seconds}


def _session(engine: str, directory: Path, contract: Contract) -> Any:
    if engine == "openvino":
        from sekisho.runtime.openvino import OpenVinoSession

        return OpenVinoSession(directory, contract.outputs, 1, 2, "fp32")
    from sekisho.runtime.onnx import OnnxRuntimeSession

    return OnnxRuntimeSession(directory, contract.outputs, 1, 2)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _in_child(*step: str) -> Mapping[str, Any]:
    command = [sys.executable, "-m", "benchmarks.full_size", "--step", *step]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or f"ended with {done.returncode}").splitlines()[-1]
        return {"failed": reason}
    result: Mapping[str, Any] = json.loads(done.stdout)
    return result


def _step(step: list[str]) -> None:
    what, name, folder, *rest = step
    spec = next(spec for spec in MODELS if spec.name == name)
    if what == "make":
        result = _make(spec, Path(folder))
    elif what == "convert":
        result = _convert(spec, Path(folder))
    else:
        result = _run(what, Path(folder), int(rest[0]), 1)
    print(json.dumps({**result, "peak": _peak()}))


def _gib(count: float) -> str:
    return f"{count / 2**30:.2f} GiB"


def _measure(spec: TinyEncoder, lengths: list[int], engines: list[str], console: Console) -> None:
    table = Table(title=spec.name)
    for column in ("step", "seconds", "peak of memory"):
        table.add_column(column)

    def add(label: str, result: Mapping[str, Any], key: str, peak: str = "peak") -> None:
        shown = (f"{result[key]:.1f}", _gib(result[peak])) if "failed" not in result else ("failed", result["failed"])
        table.add_row(label, *shown)

    with tempfile.TemporaryDirectory() as folder:
        made = _in_child("make", spec.name, folder)
        converted = _in_child("convert", spec.name, folder)
        add(f"convert {_gib(made.get('bytes', 0))}", converted, "seconds")
        for engine in engines:
            for place, length in enumerate(dict.fromkeys(min(length, spec.limit) for length in lengths)):
                result = _in_child(engine, spec.name, folder, str(length))
                if place == 0:
                    add(f"{engine}: load", result, "load_seconds", "load_peak")
                add(f"{engine}: {length} tokens", result, "seconds")
    console.print(table)


def main() -> None:
    """What scripts/full-size runs."""
    parser = argparse.ArgumentParser(prog="scripts/full-size", description=__doc__)
    parser.add_argument("models", nargs="*", help="names; all by default")
    parser.add_argument("--lengths", default="512,8192", help="tokens of the inputs, with commas between")
    parser.add_argument("--engines", default=",".join(_ENGINES))
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        _step(given.step)
        return
    known = [spec.name for spec in MODELS]
    if unknown := sorted(set(given.models) - set(known)):
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    lengths = [int(length) for length in given.lengths.split(",")]
    for spec in MODELS:
        if not given.models or spec.name in given.models:
            _measure(spec, lengths, given.engines.split(","), Console())


if __name__ == "__main__":
    main()
