"""NV-Embed in NumPy float64, written from the paper's description alone: a second opinion on graph and golden."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tests.checkpoints import Weights
from tests.checkpoints_nvembed import TinyNvEmbed

Array = NDArray[np.float64]

_erf = np.vectorize(math.erf)


def vector(spec: TinyNvEmbed, weights: Weights, ids: list[int], left: int) -> Array:
    """ids of one text → its vector; `left`: how many of its first tokens stay out of the mean."""
    w = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
    x = gated(w, attended(spec, w, decoded(spec, w, ids)))
    mean: Array = x[left if spec.masks_instruction else 0 :].mean(axis=0)
    return mean / np.linalg.norm(mean) if spec.normalized else mean


def decoded(spec: TinyNvEmbed, w: dict[str, Array], ids: list[int]) -> Array:
    """Mistral in which every token sees every other: [S] → [S, H]."""
    text = spec.text
    heads, shared = text["num_attention_heads"], text["num_key_value_heads"]
    size = text.get("head_dim", text["hidden_size"] // heads)
    x = w["embedding_model.embed_tokens.weight"][ids]
    angles = np.arange(len(ids))[:, None] / text.get("rope_theta", 10_000.0) ** (2 * np.arange(size // 2) / size)

    def norm(x: Array, name: str) -> Array:
        scale = w[f"embedding_model.{name}.weight"]
        return np.asarray(x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + text["rms_norm_eps"]) * scale)

    def turned(x: Array) -> Array:
        """Each half of a head is a coordinate of its pairs: [S, heads, D]."""
        first, second = x[..., : size // 2], x[..., size // 2 :]
        cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    for layer in range(text["num_hidden_layers"]):
        at = f"embedding_model.layers.{layer}"
        read = norm(x, f"layers.{layer}.input_layernorm")
        query, key, value = (
            (read @ w[f"{at}.self_attn.{part}_proj.weight"].T).reshape(len(ids), -1, size) for part in "qkv"
        )
        query, key = turned(query), turned(key)
        mixed = np.zeros((len(ids), heads, size))
        for head in range(heads):
            own = head // (heads // shared)
            mixed[:, head] = softmax(query[:, head] @ key[:, own].T / math.sqrt(size)) @ value[:, own]
        x = x + mixed.reshape(len(ids), -1) @ w[f"{at}.self_attn.o_proj.weight"].T
        read = norm(x, f"layers.{layer}.post_attention_layernorm")
        gate = read @ w[f"{at}.mlp.gate_proj.weight"].T
        grown = gate / (1 + np.exp(-gate)) * (read @ w[f"{at}.mlp.up_proj.weight"].T)
        x = x + grown @ w[f"{at}.mlp.down_proj.weight"].T
    return norm(x, "norm")


def attended(spec: TinyNvEmbed, w: dict[str, Array], x: Array) -> Array:
    """O = softmax(Q K^T / sqrt(D)) V of every head, with Q from the tokens, K and V from the latents, added to x."""
    at = "latent_attention_model.cross_attend_blocks.0"
    heads, size = spec.latent["num_cross_heads"], spec.latent["cross_dim_head"]
    latents = layer_norm(w, w["latent_attention_model.latents"], f"{at}.norm_context")
    query = layer_norm(w, x, f"{at}.norm") @ w[f"{at}.fn.to_q.weight"].T
    both = latents @ w[f"{at}.fn.to_kv.weight"].T
    keys, values = both[:, : heads * size], both[:, heads * size :]
    mixed = [
        softmax(query[:, part] @ keys[:, part].T / math.sqrt(size)) @ values[:, part]
        for part in (slice(head * size, head * size + size) for head in range(heads))
    ]
    return np.asarray(x + np.concatenate(mixed, axis=1) @ w[f"{at}.fn.to_out.weight"].T)


def gated(w: dict[str, Array], x: Array) -> Array:
    """A layer whose first half is gated by the GELU of its second, added to x."""
    at = "latent_attention_model.cross_attend_blocks.1"
    both = layer_norm(w, x, f"{at}.norm") @ w[f"{at}.fn.net.0.weight"].T + w[f"{at}.fn.net.0.bias"]
    grown, gate = np.split(both, 2, axis=1)
    grown = grown * 0.5 * gate * (1 + _erf(gate / math.sqrt(2)))
    return np.asarray(x + grown @ w[f"{at}.fn.net.2.weight"].T + w[f"{at}.fn.net.2.bias"])


def layer_norm(w: dict[str, Array], x: Array, name: str) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return np.asarray(centred / spread * w[f"{name}.weight"] + w[f"{name}.bias"])


def softmax(x: Array) -> Array:
    raised = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
