"""Checkpoints of random weights with the real models' config values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.checkpoints import BERT_MARKS
from tests.checkpoints_decoders import TinyDecoder, write_tiny_decoder
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

#: `limit`: the longest input that is run.
Sized = TinyEncoder | TinyDecoder


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
_QWEN3 = {
    "model_type": "qwen3",
    "num_hidden_layers": 28,
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "vocab_size": 151_669,
    "max_position_embeddings": 32_768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
}
_RURI_310M = TinyEncoder("ruri-v3-310m", 1, _ruri(25, 768, 12), modernbert, 8192, normalize=False, marks=LLAMA_MARKS)

MODELS: tuple[Sized, ...] = (
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
    # As its authors store it. They promise 32,768 tokens.
    TinyDecoder("Qwen3-Embedding-0.6B", 1, _QWEN3, 8192, dtype="BF16"),
)


#: GiB that docs/performance.md states for one text of `limit` tokens in one lane: bfloat16 in OpenVINO, fp32 in ONNX
#: Runtime.
STATED: dict[str, dict[str, float]] = {
    "ruri-v3-30m": {"openvino-bf16": 0.8, "onnxruntime": 3.5},
    "ruri-v3-310m": {"openvino-bf16": 3.5, "onnxruntime": 11.5},
    "ruri-v3-reranker-310m": {"openvino-bf16": 3.5, "onnxruntime": 11.5},
    "paraphrase-MiniLM-L12": {"openvino-bf16": 0.8, "onnxruntime": 0.8},
    "ruri-large": {"openvino-bf16": 3.0, "onnxruntime": 2.0},
    "gte-multilingual-base": {"openvino-bf16": 2.5, "onnxruntime": 9.0},
    "mxbai-rerank-large-v1": {"openvino-bf16": 3.5, "onnxruntime": 2.5},
    "bge-reranker-v2-m3": {"openvino-bf16": 4.0, "onnxruntime": 12.0},
    "Qwen3-Embedding-0.6B": {"openvino-bf16": 5.5},
}


def write_checkpoint(spec: Sized, directory: Path) -> Path:
    """Write `spec` as its authors lay their files out."""
    return write_tiny_decoder(spec, directory) if isinstance(spec, TinyDecoder) else write_tiny_encoder(spec, directory)
