"""Tiny random checkpoints of NV-Embed under the names its authors store, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.checkpoints import Draw, Weights, tiny_tokenizer
from tests.checkpoints_decoders import (
    OPENING,
    ROWS,
    VOCABULARY,
    Dtype,
    TinyDecoder,
    tiny_decoder_weights,
    write_safetensors,
    write_shards,
)


@dataclass(frozen=True)
class TinyNvEmbed:
    """One checkpoint. text, latent: the nested configs. config: what else config.json says. limit: longest input."""

    name: str
    seed: int
    text: Mapping[str, Any]
    latent: Mapping[str, Any]
    config: Mapping[str, Any]
    limit: int
    dtype: Dtype = "F32"
    shards: int = 1

    @property
    def masks_instruction(self) -> bool:
        return bool(self.config.get("is_mask_instruction", True))

    @property
    def normalized(self) -> bool:
        return bool(self.latent.get("output_normalize", True))


def _text(layers: int, hidden: int, heads: int, shared: int, inner: int, size: int | None = None) -> dict[str, Any]:
    return {
        "model_type": "bidir_mistral",
        "vocab_size": ROWS,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": shared,
        "intermediate_size": inner,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        **({"head_dim": size} if size else {}),
    }


def _latent(width: int, count: int, heads: int, size: int) -> dict[str, Any]:
    return {
        "model_type": "latent_attention",
        "hidden_dim": width,
        "latent_dim": width,
        "num_latents_value": count,
        "num_cross_heads": heads,
        "cross_dim_head": size,
    }


TINY_NVEMBEDS = (
    # The window is in the authors' config too, and their code makes none.
    TinyNvEmbed(
        "tiny-nvembed",
        271,
        _text(2, 36, 3, 1, 46, 10) | {"sliding_window": 5, "rope_theta": 10000.0},
        _latent(36, 7, 3, 5) | {"output_normalize": True},
        {"is_mask_instruction": True, "add_eos": True, "mask_type": "b", "padding_side": "right"},
        limit=100,
        dtype="BF16",
        shards=3,
    ),
    TinyNvEmbed(
        "tiny-nvembed-plain",
        272,
        _text(3, 28, 2, 2, 30) | {"rope_theta": 700.0},
        _latent(28, 13, 2, 28) | {"output_normalize": False},
        {"hidden_size": 28},
        limit=128,
    ),
    TinyNvEmbed(
        "tiny-nvembed-whole",
        273,
        _text(1, 30, 5, 5, 22),
        _latent(30, 4, 1, 9),
        {"is_mask_instruction": False},
        limit=60,
        dtype="F16",
    ),
)


def tiny_nvembed(name: str) -> TinyNvEmbed:
    """The checkpoint of that name."""
    return next(spec for spec in TINY_NVEMBEDS if spec.name == name)


def decoder_of(spec: TinyNvEmbed) -> TinyDecoder:
    """The decoder alone, as transformers' Mistral."""
    config = dict(spec.text) | {"model_type": "mistral", "sliding_window": None}
    return TinyDecoder(spec.name, spec.seed, config, spec.limit, dtype=spec.dtype, stored="embedding_model.")


def write_tiny_nvembed(spec: TinyNvEmbed, directory: Path) -> Path:
    """config.json, shards and a tokenizer.json that adds no closing token, as the authors' does not."""
    directory.mkdir(parents=True)
    nested = {"text_config": spec.text, "latent_attention_config": spec.latent}
    config = {"model_type": "nvembed", **nested, **spec.config}
    (directory / "config.json").write_text(json.dumps(config), "utf-8")
    weights = tiny_nvembed_weights(spec)
    if spec.shards > 1:
        write_shards(weights, directory, spec.shards, spec.dtype)
    else:
        write_safetensors(weights, directory / "model.safetensors", spec.dtype)
    tiny_tokenizer(VOCABULARY, OPENING).save(str(directory / "tokenizer.json"))
    (directory / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": spec.limit}), "utf-8")
    return directory


def tiny_nvembed_weights(spec: TinyNvEmbed) -> Weights:
    """The tensors of every shard."""
    width, heads = spec.latent["hidden_dim"], spec.latent["num_cross_heads"]
    inner, draw = heads * spec.latent["cross_dim_head"], Draw(spec.seed + 1000)
    name = "latent_attention_model.cross_attend_blocks"
    weights: Weights = {
        "latent_attention_model.latents": draw.around(0.0, 1.5, (spec.latent["num_latents_value"], width))
    }
    weights |= draw.linear(f"{name}.0.fn.to_q", inner, width, 1.7, bias=False)
    weights |= draw.linear(f"{name}.0.fn.to_kv", 2 * inner, width, 1.7, bias=False)
    weights |= draw.linear(f"{name}.0.fn.to_out", width, inner, 1.7, bias=False)
    weights |= draw.layer_norm(f"{name}.0.norm", width)
    weights |= draw.layer_norm(f"{name}.0.norm_context", width)
    weights |= draw.linear(f"{name}.1.fn.net.0", 8 * width, width, 1.4)
    weights |= draw.linear(f"{name}.1.fn.net.2", width, 4 * width, 1.4)
    weights |= draw.layer_norm(f"{name}.1.norm", width)
    return tiny_decoder_weights(decoder_of(spec)) | weights
