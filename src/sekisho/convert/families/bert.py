"""BERT: post-norm encoder, learned positions from 0 (Devlin et al. 2018; transformers models/bert/modeling_bert.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sekisho.convert.blocks import Graph, Value, activation, attention, layer_norm, linear, padding_bias
from sekisho.convert.family import Body, Family, read, require
from sekisho.errors import ConversionFailed


def positions(config: Mapping[str, Any]) -> int:
    """Rows of the position table."""
    return read(config, "max_position_embeddings", int)


def build(g: Graph, config: Mapping[str, Any]) -> Body:
    """The encoder over `input_ids` and `attention_mask`."""
    require(config, "position_embedding_type", "absolute")
    require(config, "is_decoder", False)
    ids, mask = g.input("input_ids"), g.input("attention_mask")
    width = read(config, "hidden_size", int)
    hidden = _embeddings(g, config, ids, width)
    bias = padding_bias(g, mask)
    for layer in range(read(config, "num_hidden_layers", int)):
        hidden = _layer(g, config, f"encoder.layer.{layer}", hidden, bias, width)
    return Body(hidden, mask, ("input_ids", "attention_mask"), width)


def _embeddings(g: Graph, config: Mapping[str, Any], ids: Value, width: int) -> Value:
    """Word + position + segment.

    A single text is all segment 0, so that row is added to the position table once, here.
    """
    op = g.op
    words = g.weight("embeddings.word_embeddings.weight", read(config, "vocab_size", int), width)
    places = g.weights.take("embeddings.position_embeddings.weight", positions(config), width)
    segments = g.weights.take("embeddings.token_type_embeddings.weight", read(config, "type_vocab_size", int), width)
    table = g.constant("embeddings.position_and_segment", places + segments[:1])
    length = op.Shape(ids, start=1, end=2)
    x = op.Add(op.Gather(words, ids), op.Slice(table, [0], length, [0]))
    return layer_norm(g, x, "embeddings.LayerNorm", width, _epsilon(config))


def _layer(g: Graph, config: Mapping[str, Any], name: str, x: Value, bias: Value, width: int) -> Value:
    heads, inner = read(config, "num_attention_heads", int), read(config, "intermediate_size", int)
    if heads < 1 or width % heads:
        raise ConversionFailed(f"config.json: hidden_size {width} is no multiple of num_attention_heads {heads}")
    query, key, value = (
        linear(g, x, f"{name}.attention.self.{part}", width, width) for part in ("query", "key", "value")
    )
    mixed = attention(g, query, key, value, bias, heads, width // heads)
    mixed = linear(g, mixed, f"{name}.attention.output.dense", width, width)
    x = layer_norm(g, g.op.Add(mixed, x), f"{name}.attention.output.LayerNorm", width, _epsilon(config))
    grown = linear(g, x, f"{name}.intermediate.dense", width, inner)
    grown = activation(read(config, "hidden_act", str, "gelu"))(g, grown)
    grown = linear(g, grown, f"{name}.output.dense", inner, width)
    return layer_norm(g, g.op.Add(grown, x), f"{name}.output.LayerNorm", width, _epsilon(config))


def _epsilon(config: Mapping[str, Any]) -> float:
    return read(config, "layer_norm_eps", float, 1e-12)


FAMILY = Family(
    name="bert",
    model_types=("bert",),
    rename=((r"^bert\.", ""), (r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
    unused=(r"^pooler\.", r"^cls\.", r"position_ids$"),
    positions=positions,
    build=build,
)
