"""Tiny random checkpoints of the encoder families beside BERT, under the names their authors store, without torch."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import save_file

from tests.checkpoints import BERT_MARKS, Draw, Marks, Weights, tiny_tokenizer

Config = Mapping[str, Any]
Fill = Callable[[Config, Draw], Weights]

ROBERTA_MARKS = Marks(("<s>", "<pad>", "</s>", "<unk>"), "<unk>", "<s> $A </s>", "<s> $A </s> </s> $B </s>")
LLAMA_MARKS = Marks(("<unk>", "<s>", "</s>", "<pad>"), "<unk>", "<s> $A </s>", "<s> $A </s> $B </s>")


@dataclass(frozen=True)
class TinyEncoder:
    """One checkpoint.

    config: config.json. fill: its weights under the names of transformers' bare model, and of the head.
    stored: (pattern, replacement) from those names to the file's. limit: longest input in tokens.
    family: what models.yaml would have to say. twin: the checkpoint with the same outputs.
    """

    name: str
    seed: int
    config: Config
    fill: Fill
    limit: int
    kind: Literal["embedding", "reranker"] = "embedding"
    pooling: Literal["mean", "cls"] = "mean"
    normalize: bool = True
    marks: Marks = BERT_MARKS
    stored: tuple[tuple[str, str], ...] = ()
    family: str | None = None
    twin: str | None = None

    @property
    def segments(self) -> bool:
        """Whether the model is told which of the two texts a token belongs to."""
        return self.kind == "reranker" and self.config.get("model_type") == "bert"


def write_tiny_encoder(spec: TinyEncoder, directory: Path) -> Path:
    """Write `spec` as a directory that transformers reads, with sentence-transformers' files where it embeds."""
    directory.mkdir(parents=True)
    _write_json(directory / "config.json", dict(spec.config))
    save_file(tiny_encoder_weights(spec), directory / "model.safetensors", metadata={"format": "pt"})
    tiny_tokenizer(spec.config["vocab_size"], spec.marks).save(str(directory / "tokenizer.json"))
    _write_json(directory / "sentence_bert_config.json", {"max_seq_length": spec.limit})
    if spec.kind == "embedding":
        kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] * spec.normalize)]
        modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds]
        _write_json(directory / "modules.json", modules)
        (directory / "1_Pooling").mkdir()
        pooling = {"pooling_mode_cls_token": spec.pooling == "cls", "pooling_mode_mean_tokens": spec.pooling == "mean"}
        _write_json(directory / "1_Pooling" / "config.json", pooling)
    return directory


def tiny_encoder_weights(spec: TinyEncoder) -> Weights:
    """The tensors of model.safetensors."""
    weights = spec.fill(spec.config, Draw(spec.seed))
    for pattern, replacement in spec.stored:
        weights = {re.sub(pattern, replacement, name): tensor for name, tensor in weights.items()}
    return {name: np.ascontiguousarray(tensor) for name, tensor in weights.items()}


def _labels(config: Config) -> int:
    return len(config.get("id2label", (0, 1)))


def _post_norm_layer(draw: Draw, name: str, width: int, inner: int, projections: str) -> Weights:
    """projections: the three names, from queries to values, with commas between."""
    weights: Weights = {}
    for part, gain in zip(projections.split(","), (1.5, 1.5, 1.0), strict=True):
        weights |= draw.linear(f"{name}.attention.self.{part}", width, width, gain)
    weights |= draw.linear(f"{name}.attention.output.dense", width, width)
    weights |= draw.layer_norm(f"{name}.attention.output.LayerNorm", width)
    weights |= draw.linear(f"{name}.intermediate.dense", inner, width)
    weights |= draw.linear(f"{name}.output.dense", width, inner)
    return weights | draw.layer_norm(f"{name}.output.LayerNorm", width)


def bert(config: Config, draw: Draw) -> Weights:
    """BERT's names, which RoBERTa and LUKE kept."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    weights: Weights = {
        "embeddings.word_embeddings.weight": draw.around(0.0, 1.7, (config["vocab_size"], width)),
        "embeddings.position_embeddings.weight": draw.around(0.0, 0.9, (config["max_position_embeddings"], width)),
        "embeddings.token_type_embeddings.weight": draw.around(0.0, 0.9, (config["type_vocab_size"], width)),
        **draw.layer_norm("embeddings.LayerNorm", width),
    }
    for index in range(config["num_hidden_layers"]):
        weights |= _post_norm_layer(draw, f"encoder.layer.{index}", width, inner, "query,key,value")
    return weights


def bert_reranker(config: Config, draw: Draw) -> Weights:
    """The head that BertForSequenceClassification adds."""
    width = config["hidden_size"]
    weights = bert(config, draw) | draw.linear("pooler.dense", width, width)
    return weights | draw.linear("classifier", _labels(config), width, 2.0)


def roberta_reranker(config: Config, draw: Draw) -> Weights:
    """The head that XLMRobertaForSequenceClassification adds."""
    width = config["hidden_size"]
    weights = bert(config, draw) | draw.linear("classifier.dense", width, width)
    return weights | draw.linear("classifier.out_proj", _labels(config), width, 2.0)


def flash_reranker(config: Config, draw: Draw) -> Weights:
    """`roberta_reranker` as jina stores it: names apart, projections packed."""
    weights = roberta_reranker(config, draw)
    for index in range(config["num_hidden_layers"]):
        for part in ("weight", "bias"):
            own = (f"encoder.layer.{index}.attention.self.{which}.{part}" for which in ("query", "key", "value"))
            weights[f"encoder.layers.{index}.mixer.Wqkv.{part}"] = np.concatenate([weights.pop(name) for name in own])
    return weights


def luke(config: Config, draw: Draw) -> Weights:
    """With the entity weights that a text without entities never meets."""
    width, small = config["hidden_size"], config["entity_emb_size"]
    weights = bert(config, draw) | draw.linear("pooler.dense", width, width)
    entities = "entity_embeddings"
    weights[f"{entities}.entity_embeddings.weight"] = draw.around(0.0, 1.0, (config["entity_vocab_size"], small))
    weights |= draw.linear(f"{entities}.entity_embedding_dense", width, small, bias=False)
    for table, rows in (("position", config["max_position_embeddings"]), ("token_type", config["type_vocab_size"])):
        weights[f"{entities}.{table}_embeddings.weight"] = draw.around(0.0, 1.0, (rows, width))
    weights |= draw.layer_norm(f"{entities}.LayerNorm", width)
    for index in range(config["num_hidden_layers"]):
        for part in ("w2e", "e2w", "e2e"):
            weights |= draw.linear(f"encoder.layer.{index}.attention.self.{part}_query", width, width)
    return weights


def distilbert(config: Config, draw: Draw) -> Weights:
    """DistilBertModel."""
    width, inner = config["dim"], config["hidden_dim"]
    weights: Weights = {
        "embeddings.word_embeddings.weight": draw.around(0.0, 1.7, (config["vocab_size"], width)),
        "embeddings.position_embeddings.weight": draw.around(0.0, 0.9, (config["max_position_embeddings"], width)),
        **draw.layer_norm("embeddings.LayerNorm", width),
    }
    for index in range(config["n_layers"]):
        name = f"transformer.layer.{index}"
        for part, gain in (("q_lin", 1.5), ("k_lin", 1.5), ("v_lin", 1.0), ("out_lin", 1.0)):
            weights |= draw.linear(f"{name}.attention.{part}", width, width, gain)
        weights |= draw.layer_norm(f"{name}.sa_layer_norm", width)
        weights |= draw.linear(f"{name}.ffn.lin1", inner, width) | draw.linear(f"{name}.ffn.lin2", width, inner)
        weights |= draw.layer_norm(f"{name}.output_layer_norm", width)
    return weights


def distilbert_reranker(config: Config, draw: Draw) -> Weights:
    """The head that DistilBertForSequenceClassification adds."""
    width = config["dim"]
    weights = distilbert(config, draw) | draw.linear("pre_classifier", width, width)
    return weights | draw.linear("classifier", _labels(config), width, 2.0)


def modernbert(config: Config, draw: Draw) -> Weights:
    """ModernBertModel."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    weights: Weights = {
        "embeddings.tok_embeddings.weight": draw.around(0.0, 1.7, (config["vocab_size"], width)),
        **draw.layer_norm("embeddings.norm", width, bias=False),
    }
    for index in range(config["num_hidden_layers"]):
        name = f"layers.{index}"
        if index:
            weights |= draw.layer_norm(f"{name}.attn_norm", width, bias=False)
        weights |= draw.linear(f"{name}.attn.Wqkv", 3 * width, width, 1.5, bias=False)
        weights |= draw.linear(f"{name}.attn.Wo", width, width, bias=False)
        weights |= draw.layer_norm(f"{name}.mlp_norm", width, bias=False)
        weights |= draw.linear(f"{name}.mlp.Wi", 2 * inner, width, bias=False)
        weights |= draw.linear(f"{name}.mlp.Wo", width, inner, bias=False)
    return weights | draw.layer_norm("final_norm", width, bias=False)


def modernbert_reranker(config: Config, draw: Draw) -> Weights:
    """The head that ModernBertForSequenceClassification adds."""
    width = config["hidden_size"]
    weights = modernbert(config, draw) | draw.linear("head.dense", width, width, bias=config["classifier_bias"])
    weights |= draw.layer_norm("head.norm", width, bias=False)
    return weights | draw.linear("classifier", _labels(config), width, 2.0)


def gte(config: Config, draw: Draw) -> Weights:
    """Alibaba's NewModel."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    weights: Weights = {
        "embeddings.word_embeddings.weight": draw.around(0.0, 1.7, (config["vocab_size"], width)),
        **draw.layer_norm("embeddings.LayerNorm", width),
    }
    if config["type_vocab_size"]:
        kinds = draw.around(0.0, 0.9, (config["type_vocab_size"], width))
        weights["embeddings.token_type_embeddings.weight"] = kinds
    for index in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{index}"
        weights |= draw.linear(f"{name}.attention.qkv_proj", 3 * width, width, 1.5)
        weights |= draw.linear(f"{name}.attention.o_proj", width, width)
        weights |= draw.layer_norm(f"{name}.attn_ln", width)
        weights |= draw.linear(f"{name}.mlp.up_gate_proj", 2 * inner, width, 1.5, bias=False)
        weights |= draw.linear(f"{name}.mlp.down_proj", width, inner)
        weights |= draw.layer_norm(f"{name}.mlp_ln", width)
    return weights


def gte_reranker(config: Config, draw: Draw) -> Weights:
    """The head that NewForSequenceClassification adds."""
    width = config["hidden_size"]
    weights = gte(config, draw) | draw.linear("pooler.dense", width, width)
    return weights | draw.linear("classifier", _labels(config), width, 2.0)


def gte_with_token_head(config: Config, draw: Draw) -> Weights:
    """The embedding model is published with a head that weighs tokens, which its vectors do not pass."""
    return gte(config, draw) | draw.linear("classifier", 1, config["hidden_size"])


def deberta(config: Config, draw: Draw) -> Weights:
    """DebertaV2Model."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    span = max(config["position_buckets"], config["max_relative_positions"])
    span = span if span > 0 else config["max_position_embeddings"]
    weights: Weights = {
        "embeddings.word_embeddings.weight": draw.around(0.0, 1.7, (config["vocab_size"], width)),
        **draw.layer_norm("embeddings.LayerNorm", width),
        "encoder.rel_embeddings.weight": draw.around(0.0, 1.7, (2 * span, width)),
    }
    if "layer_norm" in config["norm_rel_ebd"]:
        weights |= draw.layer_norm("encoder.LayerNorm", width)
    for index in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{index}"
        weights |= _post_norm_layer(draw, name, width, inner, "query_proj,key_proj,value_proj")
        if not config["share_att_key"]:
            for part, kind in (("pos_key", "c2p"), ("pos_query", "p2c")):
                if kind in config["pos_att_type"]:
                    weights |= draw.linear(f"{name}.attention.self.{part}_proj", width, width, 1.5)
    return weights


def deberta_reranker(config: Config, draw: Draw) -> Weights:
    """The head that DebertaV2ForSequenceClassification adds."""
    width = config["hidden_size"]
    weights = deberta(config, draw) | draw.linear("pooler.dense", width, width)
    return weights | draw.linear("classifier", _labels(config), width, 2.0)


ONE_LABEL = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
THREE_LABELS = {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}


def _sizes(layers: int, hidden: int, heads: int, inner: int, vocab: int, positions: int) -> dict[str, Any]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "vocab_size": vocab,
        "max_position_embeddings": positions,
    }


_BERT_RERANKER = TinyEncoder(
    name="bert-reranker",
    seed=21,
    config={
        **_sizes(2, 40, 5, 52, 951, 130),
        **ONE_LABEL,
        "model_type": "bert",
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    },
    fill=bert_reranker,
    kind="reranker",
    limit=128,
    stored=((r"^(?!classifier)", "bert."),),
)
_ROBERTA = {"model_type": "xlm-roberta", "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1}
_ROBERTA_RERANKER = TinyEncoder(
    name="xlm-roberta-reranker",
    seed=23,
    config={**_sizes(3, 40, 5, 44, 967, 98), **_ROBERTA, **ONE_LABEL, "hidden_act": "gelu"},
    fill=roberta_reranker,
    kind="reranker",
    limit=96,
    marks=ROBERTA_MARKS,
    stored=((r"^(?!classifier)", "roberta."),),
)
_LUKE = {"model_type": "luke", "pad_token_id": 1, "use_entity_aware_attention": True, "hidden_act": "gelu"}
_MODERNBERT = {
    "model_type": "modernbert",
    "pad_token_id": 3,
    "norm_eps": 1e-5,
    "hidden_activation": "gelu",
    "attention_bias": False,
    "mlp_bias": False,
    "norm_bias": False,
    "classifier_bias": False,
}
_MODERNBERT_MEAN = TinyEncoder(
    name="modernbert-mean",
    seed=31,
    config={
        **_sizes(7, 32, 4, 20, 977, 256),
        **_MODERNBERT,
        "global_attn_every_n_layers": 3,
        "local_attention": 16,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 10000.0,
    },
    fill=modernbert,
    limit=150,
    normalize=False,
    marks=LLAMA_MARKS,
)
_THETAS = ("global_rope_theta", "local_rope_theta", "global_attn_every_n_layers")
_GTE = {
    "model_type": "new",
    "hidden_act": "gelu",
    "layer_norm_type": "layer_norm",
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "rope",
    "pack_qkv": True,
    "logn_attention_scale": False,
    "pad_token_id": 1,
}
_DEBERTA = {
    "model_type": "deberta-v2",
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-7,
    "pad_token_id": 0,
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_biased_input": False,
    "max_relative_positions": -1,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
}

TINY_ENCODERS = (
    _BERT_RERANKER,
    TinyEncoder(
        name="bert-reranker-old-names",
        seed=22,
        config={
            **_sizes(1, 27, 3, 31, 943, 90),
            **THREE_LABELS,
            "model_type": "bert",
            "hidden_act": "gelu_new",
            "layer_norm_eps": 1e-3,
            "type_vocab_size": 2,
            "pad_token_id": 0,
        },
        fill=bert_reranker,
        kind="reranker",
        limit=90,
        stored=((r"^(?!classifier)", "bert."), (r"Norm\.weight$", "Norm.gamma"), (r"Norm\.bias$", "Norm.beta")),
    ),
    TinyEncoder(
        name="xlm-roberta-cls",
        seed=24,
        config={**_sizes(2, 36, 3, 50, 1013, 130), **_ROBERTA, "hidden_act": "gelu"},
        fill=bert,
        limit=128,
        pooling="cls",
        marks=ROBERTA_MARKS,
    ),
    _ROBERTA_RERANKER,
    replace(
        _ROBERTA_RERANKER,
        name="jina-reranker",
        # As published: no model_type.
        config={key: value for key, value in _ROBERTA_RERANKER.config.items() if key != "model_type"},
        fill=flash_reranker,
        stored=(
            (r"^embeddings\.LayerNorm", "emb_ln"),
            (r"^encoder\.layer\.(\d+)\.attention\.output\.dense", r"encoder.layers.\1.mixer.out_proj"),
            (r"^encoder\.layer\.(\d+)\.attention\.output\.LayerNorm", r"encoder.layers.\1.norm1"),
            (r"^encoder\.layer\.(\d+)\.intermediate\.dense", r"encoder.layers.\1.mlp.fc1"),
            (r"^encoder\.layer\.(\d+)\.output\.dense", r"encoder.layers.\1.mlp.fc2"),
            (r"^encoder\.layer\.(\d+)\.output\.LayerNorm", r"encoder.layers.\1.norm2"),
            *_ROBERTA_RERANKER.stored,
        ),
        family="xlm-roberta",
        twin="xlm-roberta-reranker",
    ),
    TinyEncoder(
        name="distilbert-mean",
        seed=25,
        config={
            "model_type": "distilbert",
            "n_layers": 2,
            "dim": 30,
            "n_heads": 3,
            "hidden_dim": 46,
            "vocab_size": 937,
            "max_position_embeddings": 100,
            "activation": "gelu",
            "pad_token_id": 0,
        },
        fill=distilbert,
        limit=100,
    ),
    TinyEncoder(
        name="distilbert-reranker",
        seed=26,
        config={
            **ONE_LABEL,
            "model_type": "distilbert",
            "n_layers": 3,
            "dim": 44,
            "n_heads": 4,
            "hidden_dim": 36,
            "vocab_size": 929,
            "max_position_embeddings": 120,
            "activation": "relu",
            "pad_token_id": 0,
        },
        fill=distilbert_reranker,
        kind="reranker",
        limit=110,
        stored=((r"^(?!pre_classifier|classifier)", "distilbert."),),
    ),
    TinyEncoder(
        name="luke-mean",
        seed=227,
        config={
            **_sizes(2, 36, 4, 40, 983, 130),
            **_LUKE,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
            "entity_vocab_size": 17,
            "entity_emb_size": 9,
        },
        fill=luke,
        limit=128,
        marks=ROBERTA_MARKS,
    ),
    TinyEncoder(
        name="luke-cls",
        seed=28,
        config={
            **_sizes(3, 28, 2, 33, 947, 80),
            **_LUKE,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
            "entity_vocab_size": 5,
            "entity_emb_size": 14,
        },
        fill=luke,
        limit=78,
        pooling="cls",
        normalize=False,
        marks=ROBERTA_MARKS,
        stored=((r"^", "luke."),),
    ),
    _MODERNBERT_MEAN,
    replace(
        _MODERNBERT_MEAN,
        name="modernbert-mean-5",
        # As transformers 5 writes the same.
        config={key: value for key, value in _MODERNBERT_MEAN.config.items() if key not in _THETAS}
        | {
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention"] * 2 + ["full_attention"],
            "rope_parameters": {
                "full_attention": {"rope_theta": 160000.0, "rope_type": "default"},
                "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
            },
        },
        twin="modernbert-mean",
    ),
    TinyEncoder(
        name="modernbert-cls",
        seed=32,
        config={
            **_sizes(5, 36, 3, 26, 941, 200),
            **_MODERNBERT,
            "global_attn_every_n_layers": 2,
            "local_attention": 8,
            "global_rope_theta": 5000.0,
            "local_rope_theta": None,
        },
        fill=modernbert,
        limit=120,
        pooling="cls",
        marks=LLAMA_MARKS,
        stored=((r"^", "model."),),
    ),
    TinyEncoder(
        name="modernbert-reranker-cls",
        seed=33,
        config={
            **_sizes(4, 40, 4, 28, 953, 140),
            **_MODERNBERT,
            **ONE_LABEL,
            "global_attn_every_n_layers": 3,
            "local_attention": 16,
            "global_rope_theta": 160000.0,
            "classifier_pooling": "cls",
            "classifier_activation": "gelu",
        },
        fill=modernbert_reranker,
        kind="reranker",
        limit=140,
        marks=LLAMA_MARKS,
        stored=((r"^(?!head|classifier)", "model."),),
    ),
    TinyEncoder(
        name="modernbert-reranker-mean",
        seed=34,
        config={
            **_sizes(3, 24, 2, 30, 947, 100),
            **_MODERNBERT,
            **ONE_LABEL,
            "global_attn_every_n_layers": 3,
            "local_attention": 9,
            "classifier_pooling": "mean",
            "classifier_activation": "silu",
            "classifier_bias": True,
        },
        fill=modernbert_reranker,
        kind="reranker",
        limit=100,
        marks=LLAMA_MARKS,
        stored=((r"^(?!head|classifier)", "model."),),
    ),
    TinyEncoder(
        name="gte-cls",
        seed=41,
        config={
            **_sizes(2, 40, 5, 44, 967, 160),
            **_GTE,
            "type_vocab_size": 1,
            "rope_theta": 20000.0,
            "rope_scaling": {"type": "ntk", "factor": 8.0},
        },
        fill=gte_with_token_head,
        limit=150,
        pooling="cls",
        marks=ROBERTA_MARKS,
        stored=((r"^(?!classifier)", "new."),),
    ),
    TinyEncoder(
        name="gte-mean",
        seed=42,
        config={**_sizes(3, 36, 3, 29, 953, 128), **_GTE, "type_vocab_size": 0, "rope_theta": 500.0},
        fill=gte,
        limit=100,
        normalize=False,
        marks=ROBERTA_MARKS,
    ),
    TinyEncoder(
        name="gte-reranker",
        seed=43,
        config={
            **_sizes(2, 32, 4, 38, 971, 120),
            **_GTE,
            **ONE_LABEL,
            "type_vocab_size": 1,
            "rope_theta": 20000.0,
            "rope_scaling": {"type": "ntk", "factor": 2.0},
        },
        fill=gte_reranker,
        kind="reranker",
        limit=120,
        marks=ROBERTA_MARKS,
        stored=((r"^(?!classifier)", "new."),),
    ),
    TinyEncoder(
        name="deberta-mean",
        seed=151,
        config={**_sizes(2, 36, 4, 40, 961, 96), **_DEBERTA, "position_buckets": 16},
        fill=deberta,
        limit=96,
    ),
    TinyEncoder(
        name="deberta-cls",
        seed=52,
        config={
            **_sizes(3, 30, 3, 44, 931, 80),
            **_DEBERTA,
            "position_buckets": -1,
            "max_relative_positions": 24,
            "norm_rel_ebd": "none",
            "share_att_key": False,
            "pos_att_type": ["c2p"],
        },
        fill=deberta,
        limit=80,
        pooling="cls",
        normalize=False,
        stored=((r"^", "deberta."),),
    ),
    TinyEncoder(
        name="deberta-reranker",
        seed=53,
        config={
            **_sizes(3, 40, 5, 28, 949, 128),
            **_DEBERTA,
            **ONE_LABEL,
            "position_buckets": 12,
            "share_att_key": False,
            "pos_att_type": ["p2c", "c2p"],
            "pooler_hidden_act": "gelu",
        },
        fill=deberta_reranker,
        kind="reranker",
        limit=128,
        stored=((r"^(?!classifier|pooler)", "deberta."),),
    ),
    TinyEncoder(
        name="deberta-reranker-shared",
        seed=54,
        config={
            **_sizes(2, 32, 2, 36, 941, 128),
            **_DEBERTA,
            **ONE_LABEL,
            "position_buckets": 32,
            "pooler_hidden_size": 32,
        },
        fill=deberta_reranker,
        kind="reranker",
        limit=120,
        stored=((r"^(?!classifier|pooler)", "deberta."),),
    ),
)


def tiny_encoder(name: str) -> TinyEncoder:
    """The spec of that name."""
    return next(spec for spec in TINY_ENCODERS if spec.name == name)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
