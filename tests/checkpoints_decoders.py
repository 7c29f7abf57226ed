"""Tiny random checkpoints of decoders that embed or rerank, of Gemma 3 and of tables of vectors, without torch.

Weights are in the file's own number format from the start, so float16 and bfloat16 lose nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tests.checkpoints import Draw, Marks, Weights, tiny_tokenizer

Config = Mapping[str, Any]
Dtype = Literal["F32", "F16", "BF16"]

VOCABULARY = 907
#: Tokens that are added to the tokenizer's vocabulary; Qwen's table too has rows that no token has.
ADDED = ("yes", "Yes")
ROWS = 917

SPECIALS = ("<unk>", "<s>", "</s>", "<pad>")
OPENING = Marks(SPECIALS, "<unk>", "<s> $A", "<s> $A $B")
BOTH = Marks(SPECIALS, "<unk>", "<s> $A </s>", "<s> $A </s> $B </s>")
CLOSING = Marks(SPECIALS, "<unk>", "$A </s>", "$A $B </s>")

_POOLING = {"mean": "mean_tokens", "last": "lasttoken", "weighted_mean": "weightedmean_tokens"}


@dataclass(frozen=True)
class Dense:
    """A sentence-transformers Dense module; activation: its class in torch.nn."""

    width: int
    activation: str = "Identity"
    bias: bool = False


@dataclass(frozen=True)
class TinyDecoder:
    """One checkpoint.

    config: config.json, without what `BASE` says. stored: prefix of the weights' names.
    head: what is beside the stack: a language-model head, or a classification head of `labels` rows.
    reference: keys of config.json that transformers 4 must see in place of others to compute the same; None drops one.
    shards: in how many files the weights are.
    """

    name: str
    seed: int
    config: Config
    limit: int
    kind: Literal["embedding", "reranker"] = "embedding"
    pooling: Literal["mean", "last", "weighted_mean"] = "last"
    normalize: bool = True
    dense: tuple[Dense, ...] = ()
    marks: Marks = BOTH
    dtype: Dtype = "F32"
    stored: str = ""
    head: Literal["lm_head", "score"] | None = None
    reference: Config = field(default_factory=dict)
    shards: int = 1

    @property
    def gemma(self) -> bool:
        """Whether it is Gemma's layer, with two norms more."""
        return bool(self.config["model_type"] == "gemma3_text")

    @property
    def answers(self) -> bool:
        """Whether its score is what a language model says of yes and no."""
        return self.kind == "reranker" and self.head != "score"


@dataclass(frozen=True)
class TinyStatic:
    """A table of vectors. stored: what the file calls it."""

    name: str
    seed: int
    width: int
    stored: str
    dtype: Dtype = "F32"
    normalize: bool = False


LLAMA = {"model_type": "llama", "max_position_embeddings": 128, "vocab_size": ROWS, "rms_norm_eps": 1e-5}
MISTRAL = {"model_type": "mistral", "max_position_embeddings": 128, "vocab_size": ROWS, "rms_norm_eps": 1e-5}
QWEN2 = {"model_type": "qwen2", "max_position_embeddings": 128, "vocab_size": ROWS, "rms_norm_eps": 1e-6}
QWEN3 = {"model_type": "qwen3", "max_position_embeddings": 128, "vocab_size": ROWS, "rms_norm_eps": 1e-6}
GEMMA = {"model_type": "gemma3_text", "max_position_embeddings": 128, "vocab_size": ROWS, "rms_norm_eps": 1e-6}


def _shape(layers: int, hidden: int, heads: int, shared: int, inner: int, size: int | None = None) -> dict[str, Any]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": shared,
        "intermediate_size": inner,
        **({"head_dim": size} if size else {}),
    }


TINY_DECODERS = (
    TinyDecoder(
        "tiny-llama-last", 201, LLAMA | _shape(3, 40, 5, 1, 52) | {"rope_theta": 10000.0}, limit=128, marks=OPENING
    ),
    TinyDecoder(
        "tiny-llama-biases",
        202,
        LLAMA
        | _shape(2, 36, 4, 2, 44, 14)
        | {
            "attention_bias": True,
            "mlp_bias": True,
            "hidden_act": "gelu",
            "rope_theta": 5000.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        },
        limit=100,
        pooling="weighted_mean",
        normalize=False,
        dtype="F16",
        stored="model.",
        head="lm_head",
    ),
    TinyDecoder(
        "tiny-llama-both-ways",
        203,
        LLAMA
        | _shape(2, 36, 6, 3, 42)
        | {"is_causal": False, "rope_scaling": {"type": "linear", "factor": 2.0}, "sliding_window": 4},
        limit=90,
        marks=CLOSING,
        dtype="BF16",
    ),
    TinyDecoder(
        "tiny-llama-yarn",
        204,
        LLAMA
        | _shape(2, 40, 2, 1, 38, 20)
        | {
            "rope_theta": 700.0,
            "rope_scaling": {
                "type": "yarn",
                "factor": 3.0,
                "original_max_position_embeddings": 40,
                "beta_fast": 12,
                "beta_slow": 0.5,
                "truncate": False,
                "attention_factor": 1.4,
            },
        },
        limit=120,
        pooling="mean",
    ),
    TinyDecoder(
        "tiny-mistral-window",
        211,
        MISTRAL | _shape(3, 42, 6, 3, 38, 10) | {"sliding_window": 5, "rope_theta": 10000.0},
        limit=100,
        dtype="BF16",
        stored="model.",
        head="lm_head",
    ),
    TinyDecoder(
        "tiny-mistral-mean",
        212,
        MISTRAL | _shape(2, 32, 4, 2, 54) | {"sliding_window": None, "rope_parameters": {"rope_theta": 700.0}},
        limit=128,
        pooling="mean",
        reference={"rope_parameters": None, "rope_theta": 700.0},
        shards=3,
    ),
    TinyDecoder(
        "tiny-qwen2-window",
        221,
        QWEN2
        | _shape(3, 24, 4, 2, 46)
        | {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1, "rope_theta": 20000.0},
        limit=80,
        pooling="mean",
    ),
    TinyDecoder(
        "tiny-qwen2-last",
        222,
        QWEN2 | _shape(2, 50, 5, 5, 30) | {"use_sliding_window": False, "sliding_window": 3, "rope_theta": 1e6},
        limit=120,
        normalize=False,
        marks=CLOSING,
        dtype="F16",
        stored="model.",
    ),
    TinyDecoder(
        "tiny-qwen3-last",
        231,
        QWEN3
        | _shape(3, 39, 3, 1, 50, 26)
        | {"sliding_window": 4, "max_window_layers": 0, "rope_theta": 1e6, "tie_word_embeddings": True},
        limit=128,
        marks=CLOSING,
        dtype="BF16",
    ),
    TinyDecoder(
        "tiny-qwen3-window",
        232,
        QWEN3
        | _shape(3, 34, 4, 2, 40, 12)
        | {
            "use_sliding_window": True,
            "sliding_window": 6,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "attention_bias": True,
        },
        limit=100,
        pooling="mean",
        normalize=False,
        dense=(Dense(21, "ReLU", bias=True),),
    ),
    TinyDecoder(
        "tiny-qwen3-yarn",
        236,
        QWEN3
        | _shape(2, 36, 3, 1, 40, 24)
        | {
            "rope_theta": 5000.0,
            "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
        },
        limit=128,
        dtype="BF16",
    ),
    TinyDecoder(
        "tiny-qwen3-yarn-mscale",
        237,
        QWEN3
        | _shape(2, 33, 3, 3, 42, 18)
        | {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 300.0,
                "factor": 6.0,
                "beta_fast": 4,
                "mscale": 1.2,
                "mscale_all_dim": 0.4,
            },
        },
        limit=100,
        pooling="mean",
        reference={
            "rope_parameters": None,
            "rope_theta": 300.0,
            "rope_scaling": {"rope_type": "yarn", "factor": 6.0, "beta_fast": 4, "mscale": 1.2, "mscale_all_dim": 0.4},
        },
    ),
    TinyDecoder(
        "tiny-qwen3-linear",
        238,
        QWEN3 | _shape(2, 30, 3, 1, 36, 14) | {"rope_theta": 900.0, "rope_scaling": {"type": "linear", "factor": 3.0}},
        limit=90,
    ),
    TinyDecoder(
        "tiny-qwen3-both-ways",
        233,
        QWEN3 | _shape(2, 33, 3, 3, 48, 22) | {"is_causal": False, "rope_theta": 5000.0},
        limit=100,
        pooling="mean",
    ),
    TinyDecoder(
        "tiny-qwen3-answers",
        234,
        QWEN3 | _shape(3, 39, 3, 1, 50, 26) | {"rope_theta": 1e6, "tie_word_embeddings": True},
        limit=128,
        kind="reranker",
        marks=Marks(SPECIALS, "<unk>", "$A", "$A $B"),
        dtype="BF16",
        stored="model.",
    ),
    TinyDecoder(
        "tiny-qwen3-answers-untied",
        235,
        QWEN3 | _shape(2, 36, 4, 2, 30, 10) | {"rope_theta": 1e6, "tie_word_embeddings": False},
        limit=100,
        kind="reranker",
        marks=Marks(SPECIALS, "<unk>", "$A", "$A $B"),
        stored="model.",
        head="lm_head",
    ),
    TinyDecoder(
        "tiny-llama-scores",
        241,
        LLAMA | _shape(2, 32, 4, 2, 40) | {"id2label": {"0": "a", "1": "b", "2": "c"}, "pad_token_id": 3},
        limit=100,
        kind="reranker",
        stored="model.",
        head="score",
    ),
    TinyDecoder(
        "tiny-qwen3-scores",
        242,
        QWEN3 | _shape(2, 27, 3, 1, 44, 16) | {"id2label": {"0": "a"}, "pad_token_id": 3},
        limit=100,
        kind="reranker",
        dtype="F16",
        stored="model.",
        head="score",
    ),
    TinyDecoder(
        "tiny-gemma-both-ways",
        251,
        GEMMA
        | _shape(4, 36, 3, 1, 50, 16)
        | {
            "use_bidirectional_attention": True,
            "sliding_window": 9,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
            "query_pre_attn_scalar": 24,
            "rope_theta": 50000.0,
            "rope_local_base_freq": 300.0,
        },
        limit=128,
        pooling="mean",
        dense=(Dense(50), Dense(20)),
    ),
    TinyDecoder(
        "tiny-gemma-even-window",
        252,
        GEMMA
        | _shape(3, 30, 4, 2, 36, 10)
        | {
            "use_bidirectional_attention": True,
            "sliding_window": 8,
            "sliding_window_pattern": 2,
            "query_pre_attn_scalar": 7,
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 9000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 200.0},
            },
        },
        limit=100,
        pooling="mean",
        dense=(Dense(44, "Tanh", bias=True), Dense(30, "Identity", bias=True)),
        dtype="BF16",
        reference={"rope_parameters": None, "rope_theta": 9000.0, "rope_local_base_freq": 200.0},
    ),
    TinyDecoder(
        "tiny-gemma-causal",
        253,
        GEMMA
        | _shape(3, 28, 4, 1, 32, 8)
        | {
            "use_bidirectional_attention": False,
            "sliding_window": 6,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "query_pre_attn_scalar": 8,
        },
        limit=100,
        normalize=False,
        marks=OPENING,
        dtype="F16",
    ),
)

TINY_STATICS = (
    TinyStatic("tiny-static", 261, 37, "embedding.weight"),
    TinyStatic("tiny-static-half", 262, 24, "embeddings", dtype="F16", normalize=True),
)


def tiny_decoder(name: str) -> TinyDecoder:
    """The checkpoint of that name."""
    return next(spec for spec in TINY_DECODERS if spec.name == name)


def write_tiny_decoder(spec: TinyDecoder, directory: Path, *, reference: bool = False) -> Path:
    """Write `spec`; with `reference`, as transformers 4 must be told."""
    directory.mkdir(parents=True)
    config = {"bos_token_id": 1, "eos_token_id": 2} | dict(spec.config) | (dict(spec.reference) if reference else {})
    dropped = {key for key, value in spec.reference.items() if value is None and reference}
    _write_json(directory / "config.json", {key: value for key, value in config.items() if key not in dropped})
    weights = tiny_decoder_weights(spec)
    if spec.shards > 1 and not reference:
        write_shards(weights, directory, spec.shards, spec.dtype)
    else:
        write_safetensors(weights, directory / "model.safetensors", spec.dtype)
    _write_tokenizer(spec.marks, directory)
    _write_json(directory / "sentence_bert_config.json", {"max_seq_length": spec.limit, "do_lower_case": False})
    if spec.kind == "embedding":
        _write_modules(spec, directory)
    return directory


def write_tiny_static(spec: TinyStatic, directory: Path) -> Path:
    """sentence-transformers' layout of a table: no config.json."""
    folder = directory / "0_StaticEmbedding"
    folder.mkdir(parents=True)
    table = Draw(spec.seed).around(0.0, 1.5, (VOCABULARY, spec.width))
    write_safetensors({spec.stored: table}, folder / "model.safetensors", spec.dtype)
    tiny_tokenizer(VOCABULARY, BOTH).save(str(folder / "tokenizer.json"))
    kinds = [("0_StaticEmbedding", "StaticEmbedding"), *([("1_Normalize", "Normalize")] * spec.normalize)]
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds]
    _write_json(directory / "modules.json", [{"idx": n, "name": str(n)} | one for n, one in enumerate(modules)])
    return directory


def tiny_decoder_weights(spec: TinyDecoder) -> Weights:
    """The tensors under the names transformers saves them by."""
    draw, config = Draw(spec.seed), spec.config
    width = config["hidden_size"]
    weights: Weights = {"embed_tokens.weight": draw.around(0.0, 1.7, (config["vocab_size"], width))}
    for index in range(config["num_hidden_layers"]):
        weights |= _layer(draw, spec, f"layers.{index}", width)
    weights |= _norm(draw, spec, "norm", width)
    weights = {spec.stored + name: tensor for name, tensor in weights.items()}
    if spec.head == "lm_head":
        weights |= draw.linear("lm_head", config["vocab_size"], width, bias=False)
    if spec.head == "score":
        weights |= draw.linear("score", len(config["id2label"]), width, 2.0, bias=False)
    return weights


def _layer(draw: Draw, spec: TinyDecoder, name: str, width: int) -> Weights:
    config, kind = spec.config, spec.config["model_type"]
    heads, shared, inner = (config[key] for key in ("num_attention_heads", "num_key_value_heads", "intermediate_size"))
    size = config.get("head_dim", width // heads)
    biased, output_biased = kind == "qwen2" or "attention_bias" in config, "attention_bias" in config
    weights = _norm(draw, spec, f"{name}.input_layernorm", width)
    for part, rows, gain in (("q", heads, 1.6), ("k", shared, 1.6), ("v", shared, 1.0)):
        weights |= draw.linear(f"{name}.self_attn.{part}_proj", rows * size, width, gain, bias=biased)
    weights |= draw.linear(f"{name}.self_attn.o_proj", width, heads * size, 1.5, bias=output_biased)
    if kind in {"qwen3", "gemma3_text"}:
        weights |= _norm(draw, spec, f"{name}.self_attn.q_norm", size, 1.6)
        weights |= _norm(draw, spec, f"{name}.self_attn.k_norm", size, 1.6)
    weights |= _norm(draw, spec, f"{name}.post_attention_layernorm", width)
    if spec.gemma:
        weights |= _norm(draw, spec, f"{name}.pre_feedforward_layernorm", width)
        weights |= _norm(draw, spec, f"{name}.post_feedforward_layernorm", width)
    for part, out, into in (("gate", inner, width), ("up", inner, width), ("down", width, inner)):
        weights |= draw.linear(f"{name}.mlp.{part}_proj", out, into, 1.3, bias="mlp_bias" in config)
    return weights


def _norm(draw: Draw, spec: TinyDecoder, name: str, width: int, centre: float = 1.0) -> Weights:
    """Gemma stores a scale less one."""
    return {f"{name}.weight": draw.around(centre - 1.0 if spec.gemma else centre, 0.4, (width,))}


def write_safetensors(weights: Weights, path: Path, dtype: Dtype) -> None:
    """The format by hand, since NumPy has no bfloat16."""
    data = {name: _encode(tensor, dtype) for name, tensor in weights.items()}
    ends = np.cumsum([0, *map(len, data.values())]).tolist()
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for (name, tensor), (start, end) in zip(weights.items(), pairwise(ends), strict=True):
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data.values()))


def _encode(tensor: NDArray[Any], dtype: Dtype) -> bytes:
    if dtype == "BF16":  # the upper half of a float32
        return (tensor.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return tensor.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def write_shards(weights: Weights, directory: Path, shards: int, dtype: Dtype) -> None:
    """Weights in turn to each of so many files, and the index that says where each is."""
    files = [f"model-{number + 1:05}-of-{shards:05}.safetensors" for number in range(shards)]
    places = {name: files[number % shards] for number, name in enumerate(weights)}
    for file in files:
        own = {name: tensor for name, tensor in weights.items() if places[name] == file}
        write_safetensors(own, directory / file, dtype)
    total = sum(tensor.nbytes for tensor in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    _write_json(directory / "model.safetensors.index.json", index)


def _write_tokenizer(marks: Marks, directory: Path) -> None:
    tokenizer = tiny_tokenizer(VOCABULARY, marks)
    tokenizer.add_tokens(list(ADDED))
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 100000, "pad_token": "<pad>"}
    _write_json(directory / "tokenizer_config.json", config)


def _write_modules(spec: TinyDecoder, directory: Path) -> None:
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    kinds += [(f"{number}_Dense", "Dense") for number, _ in enumerate(spec.dense, 2)]
    kinds += [(f"{2 + len(spec.dense)}_Normalize", "Normalize")] * spec.normalize
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds)
    ]
    _write_json(directory / "modules.json", modules)
    for path, _ in kinds[1:]:
        (directory / path).mkdir()
    flags = {f"pooling_mode_{flag}": how == spec.pooling for how, flag in _POOLING.items()}
    width = spec.config["hidden_size"]
    pooling = {"word_embedding_dimension": width, "pooling_mode_cls_token": False} | flags
    _write_json(directory / "1_Pooling" / "config.json", pooling)
    draw = Draw(spec.seed + 1000)
    for number, dense in enumerate(spec.dense, 2):
        folder = directory / f"{number}_Dense"
        config = {"in_features": width, "out_features": dense.width, "bias": dense.bias}
        kind = "linear.Identity" if dense.activation == "Identity" else f"activation.{dense.activation}"
        _write_json(folder / "config.json", config | {"activation_function": f"torch.nn.modules.{kind}"})
        weights = draw.linear("linear", dense.width, width, bias=dense.bias)
        write_safetensors(weights, folder / "model.safetensors", "F32")
        width = dense.width


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", "utf-8")
