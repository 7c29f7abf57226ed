"""Gemma 3's text model as an encoder (EmbeddingGemma): norms before and after each part, local windows, shared keys.

transformers models/gemma3/modeling_gemma3.py. A norm's stored weight is its scale minus one; embeddings are scaled by
the root of the width; a window of w sees w // 2 positions to each side when attention is bidirectional.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sekisho.contract import Kind
from sekisho.convert.attention import (
    Heads,
    Rotary,
    attend,
    causal_bias,
    inverse_frequencies,
    padding_bias,
    rotary,
    rotate,
    split_heads,
    window_bias,
)
from sekisho.convert.blocks import Graph, Value, activation, linear, rms_norm
from sekisho.convert.family import Body, Config, Family, read, require
from sekisho.convert.packing import INPUTS, WHERE, Packing, packing
from sekisho.errors import ConversionFailed


@dataclass(frozen=True)
class _Kind:
    """What global and local layers differ in."""

    bias: Value
    turn: Rotary


def positions(config: Config) -> int:
    """Rotary positions need no table; this is how far the model was trained."""
    return read(config, "max_position_embeddings", int)


def build(g: Graph, config: Config, _kind: Kind) -> Body:
    """The stack without a language-model head."""
    require(config, "attention_bias", False)
    require(config, "attn_logit_softcapping", None)
    ids, mask = (g.input(name) for name in INPUTS)
    where = packing(g)
    width, count = read(config, "hidden_size", int), read(config, "num_attention_heads", int)
    heads = Heads(
        count,
        read(config, "head_dim", int, 256),
        read(config, "num_key_value_heads", int, 4),
        1 / math.sqrt(read(config, "query_pre_attn_scalar", float, 256.0)),
    )
    kinds = _kinds(g, config, ids, mask, heads.size)
    scale = np.float32(math.sqrt(width))
    shape = (read(config, "vocab_size", int), width)
    words = g.weights.promise("embed_tokens.weight", *shape)
    x = g.op.Gather(g.computed("embed_tokens.weight", shape, lambda: words() * scale), where.pack(g, ids))
    for layer, kind in enumerate(layer_kinds(config)):
        x = _layer(g, config, f"layers.{layer}", x, where, kinds[kind], heads, width)
    return Body(where.spread(g, _norm(g, config, "norm", x, width)), mask, (*INPUTS, *WHERE), width)


def layer_kinds(config: Config) -> list[str]:
    """`full_attention` or `sliding_attention` a layer: listed by newer files, every sixth global before."""
    listed, count = config.get("layer_types"), read(config, "num_hidden_layers", int)
    if isinstance(listed, list):
        if len(listed) != count or not set(listed) <= {"full_attention", "sliding_attention"}:
            raise ConversionFailed(f"config.json: layer_types {listed} are not {count} of full or sliding attention")
        return listed
    every = read(config, "sliding_window_pattern", int, 6)
    return ["sliding_attention" if (layer + 1) % every else "full_attention" for layer in range(count)]


def theta(config: Config, kind: str) -> float:
    """transformers 5 writes `rope_parameters` by kind of layer; before, each kind had a key of its own."""
    grouped = config.get("rope_parameters")
    if isinstance(grouped, dict) and isinstance(grouped.get(kind), dict):
        require(grouped[kind], "rope_type", "default")
        return read(grouped[kind], "rope_theta", float)
    require(config, "rope_scaling", None)
    if kind == "full_attention":
        return read(config, "rope_theta", float, 1_000_000.0)
    return read(config, "rope_local_base_freq", float, 10_000.0)


def _kinds(g: Graph, config: Config, ids: Value, mask: Value, size: int) -> dict[str, _Kind]:
    both_ways = bool(config.get("use_bidirectional_attention", False))
    everywhere = padding_bias(g, mask) if both_ways else causal_bias(g, ids, padding_bias(g, mask))
    window = read(config, "sliding_window", int, 4096)
    radius = window // 2 if both_ways else window - 1
    near = window_bias(g, ids, everywhere, radius) if radius < g.max_tokens - 1 else everywhere
    biases = {"full_attention": everywhere, "sliding_attention": near}
    return {
        kind: _Kind(
            biases[kind], rotary(g, f"rotary.{kind}", ids, inverse_frequencies(size, theta(config, kind)), g.max_tokens)
        )
        for kind in dict.fromkeys(layer_kinds(config))
    }


def _layer(
    g: Graph, config: Config, name: str, x: Value, where: Packing, kind: _Kind, heads: Heads, width: int
) -> Value:
    op, inner = g.op, read(config, "intermediate_size", int)
    normed = _norm(g, config, f"{name}.input_layernorm", x, width)
    shared = heads.key_value or heads.count
    query, key, value = (
        split_heads(
            g,
            where.spread(g, linear(g, normed, f"{name}.self_attn.{part}_proj", width, count * heads.size, bias=False)),
            count,
            heads.size,
        )
        for part, count in (("q", heads.count), ("k", shared), ("v", shared))
    )
    query, key = (
        rotate(g, _norm(g, config, f"{name}.self_attn.{part}_norm", each, heads.size), kind.turn, heads.size)
        for part, each in (("q", query), ("k", key))
    )
    mixed = where.pack_rows(g, attend(g, query, key, value, [kind.bias], heads), heads.count * heads.size)
    mixed = linear(g, mixed, f"{name}.self_attn.o_proj", heads.count * heads.size, width, bias=False)
    x = op.Add(x, _norm(g, config, f"{name}.post_attention_layernorm", mixed, width))
    normed = _norm(g, config, f"{name}.pre_feedforward_layernorm", x, width)
    act = activation(read(config, "hidden_activation", str, "gelu_pytorch_tanh"))
    gate = act(g, linear(g, normed, f"{name}.mlp.gate_proj", width, inner, bias=False))
    grown = op.Mul(gate, linear(g, normed, f"{name}.mlp.up_proj", width, inner, bias=False))
    grown = linear(g, grown, f"{name}.mlp.down_proj", inner, width, bias=False)
    return op.Add(x, _norm(g, config, f"{name}.post_feedforward_layernorm", grown, width))


def _norm(g: Graph, config: Config, name: str, x: Value, width: int) -> Value:
    return rms_norm(g, x, name, width, read(config, "rms_norm_eps", float, 1e-6), offset=1.0)


FAMILY = Family(
    name="gemma",
    model_types=("gemma3_text",),
    rename=((r"^model\.", ""),),
    unused=(r"^lm_head\.", r"rotary_emb\."),
    head=(r"^score\.",),
    positions=positions,
    build=build,
)
