"""Alibaba's `new` architecture (gte-multilingual): post-norm, packed projections, stretched rotary positions.

Source: the public descriptions of Alibaba-NLP/new-impl and text-embeddings-inference's gte.rs. The MLP's packed weight
holds `up` first and `gate` second; NTK scaling multiplies the base by the factor and divides every frequency by
factor^(2/D).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sekisho.contract import Kind
from sekisho.convert.attention import (
    Heads,
    Rotary,
    attend,
    inverse_frequencies,
    padding_bias,
    rotary,
    rotate,
    split_heads,
)
from sekisho.convert.blocks import Graph, Value, activation, layer_norm, linear
from sekisho.convert.family import Body, Config, Family, labels, read, require
from sekisho.convert.packing import INPUTS, WHERE, Packing, packing
from sekisho.errors import ConversionFailed


def positions(config: Config) -> int:
    """Rotary positions need no table; this is how far the model was trained."""
    return read(config, "max_position_embeddings", int)


def build(g: Graph, config: Config, kind: Kind) -> Body:
    """The encoder. Where there are segments every token is of the first."""
    require(config, "position_embedding_type", "rope")
    require(config, "layer_norm_type", "layer_norm")
    require(config, "logn_attention_scale", False)
    if kind == "reranker":
        require(config, "type_vocab_size", 0, 1)  # with two, the second text of a pair would be of the second
    ids, mask = (g.input(name) for name in INPUTS)
    where = packing(g)
    width = read(config, "hidden_size", int)
    heads = Heads.of(width, read(config, "num_attention_heads", int))
    kinds = read(config, "type_vocab_size", int, 0)
    rows = read(config, "vocab_size", int)
    words = g.weights.promise("embeddings.word_embeddings.weight", rows, width)
    segment = g.weights.take("embeddings.token_type_embeddings.weight", kinds, width)[0] if kinds else np.float32(0)
    table = g.computed("embeddings.word_and_segment", (rows, width), lambda: words() + segment)
    x = g.op.Gather(table, where.pack(g, ids))
    x = layer_norm(g, x, "embeddings.LayerNorm", width, _epsilon(config))
    bias, turn = padding_bias(g, mask), rotary(g, "rotary", ids, frequencies(config, heads.size), g.max_tokens)
    for layer in range(read(config, "num_hidden_layers", int)):
        x = _layer(g, config, f"encoder.layer.{layer}", x, where, bias, turn, heads)
    return Body(where.spread(g, x), mask, (*INPUTS, *WHERE), width)


def classify(g: Graph, config: Config, body: Body) -> Value:
    """First token → dense → tanh → classifier."""
    first = g.op.Gather(body.hidden, g.op.Constant(value_int=0), axis=1)
    pooled = g.op.Tanh(linear(g, first, "pooler.dense", body.width, body.width))
    return linear(g, pooled, "classifier", body.width, labels(config))


def frequencies(config: Config, size: int) -> NDArray[np.float64]:
    """Rotary frequencies [D/2], NTK-scaled where the config says so."""
    theta, scaling = read(config, "rope_theta", float, 10_000.0), config.get("rope_scaling")
    if not isinstance(scaling, dict):
        return inverse_frequencies(size, theta)
    kind = scaling.get("type", scaling.get("rope_type"))
    if kind != "ntk":
        raise ConversionFailed(f"config.json: rope_scaling type {kind!r}; this family supports 'ntk'")
    require(scaling, "mixed_b")
    factor = read(scaling, "factor", float)
    return inverse_frequencies(size, theta * factor) / factor ** (2 / size)


def _layer(
    g: Graph, config: Config, name: str, x: Value, where: Packing, bias: Value, turn: Rotary, heads: Heads
) -> Value:
    op, width, inner = g.op, heads.count * heads.size, read(config, "intermediate_size", int)
    packed = op.Split(linear(g, x, f"{name}.attention.qkv_proj", width, 3 * width), num_outputs=3, axis=-1, _outputs=3)
    query, key, value = (split_heads(g, where.spread(g, part), heads.count, heads.size) for part in packed)
    mixed = attend(g, rotate(g, query, turn, heads.size), rotate(g, key, turn, heads.size), value, [bias], heads)
    mixed = linear(g, where.pack_rows(g, mixed, width), f"{name}.attention.o_proj", width, width)
    x = layer_norm(g, op.Add(mixed, x), f"{name}.attn_ln", width, _epsilon(config))
    both = linear(g, x, f"{name}.mlp.up_gate_proj", width, 2 * inner, bias=False)
    up, gate = op.Split(both, num_outputs=2, axis=-1, _outputs=2)
    grown = op.Mul(activation(read(config, "hidden_act", str, "gelu"))(g, gate), up)
    return layer_norm(
        g, op.Add(linear(g, grown, f"{name}.mlp.down_proj", inner, width), x), f"{name}.mlp_ln", width, _epsilon(config)
    )


def _epsilon(config: Config) -> float:
    return read(config, "layer_norm_eps", float, 1e-12)


FAMILY = Family(
    name="gte",
    model_types=("new",),
    rename=((r"^new\.", ""),),
    unused=(r"^lm_head\.", r"rotary_emb\.", r"position_ids$"),
    head=(r"^pooler\.", r"^classifier\."),
    positions=positions,
    build=build,
    classify=classify,
)
