"""What BERT and its descendants with unchanged names share: the layer, and RoBERTa's embeddings."""

from __future__ import annotations

import onnx_ir as ir

from sekisho.convert.attention import Heads, attention
from sekisho.convert.blocks import Graph, Value, activation, layer_norm, linear
from sekisho.convert.family import Config, read
from sekisho.errors import ConversionFailed


def encoder_layer(g: Graph, config: Config, name: str, x: Value, bias: Value, width: int) -> Value:
    """Attention and feed-forward, each with its residual and a norm after it."""
    heads, inner = read(config, "num_attention_heads", int), read(config, "intermediate_size", int)
    if heads < 1 or width % heads:
        raise ConversionFailed(f"config.json: hidden_size {width} is no multiple of num_attention_heads {heads}")
    query, key, value = (
        linear(g, x, f"{name}.attention.self.{part}", width, width) for part in ("query", "key", "value")
    )
    mixed = attention(g, query, key, value, bias, Heads(heads, width // heads))
    mixed = linear(g, mixed, f"{name}.attention.output.dense", width, width)
    x = layer_norm(g, g.op.Add(mixed, x), f"{name}.attention.output.LayerNorm", width, epsilon(config))
    grown = linear(g, x, f"{name}.intermediate.dense", width, inner)
    grown = activation(read(config, "hidden_act", str, "gelu"))(g, grown)
    grown = linear(g, grown, f"{name}.output.dense", inner, width)
    return layer_norm(g, g.op.Add(grown, x), f"{name}.output.LayerNorm", width, epsilon(config))


def counted_embeddings(g: Graph, config: Config, ids: Value, width: int) -> Value:
    """RoBERTa's embeddings: words, counted positions, and the one segment, which is added to the positions here."""
    op = g.op
    rows, padding = read(config, "max_position_embeddings", int), read(config, "pad_token_id", int, 1)
    words = g.weight("embeddings.word_embeddings.weight", read(config, "vocab_size", int), width)
    places = g.weights.take("embeddings.position_embeddings.weight", rows, width)
    kinds = g.weights.take("embeddings.token_type_embeddings.weight", read(config, "type_vocab_size", int, 1), width)
    table = g.constant("embeddings.position_and_segment", places + kinds[:1])
    x = op.Add(op.Gather(words, ids), op.Gather(table, position_ids(g, ids, padding)))
    return layer_norm(g, x, "embeddings.LayerNorm", width, epsilon(config))


def position_ids(g: Graph, ids: Value, padding: int) -> Value:
    """Counted over the ids that are not `padding`, from padding + 1; padding itself stays at `padding`."""
    op = g.op
    present = op.Cast(op.Not(op.Equal(ids, padding)), to=ir.DataType.INT32)
    counted = op.CumSum(present, op.Constant(value_int=1))
    return op.Add(op.Mul(counted, present), padding)


def epsilon(config: Config) -> float:
    """Of every norm (transformers' default for BERT is 1e-12)."""
    return read(config, "layer_norm_eps", float, 1e-12)
