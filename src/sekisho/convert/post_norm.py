"""What BERT and its descendants with unchanged names share: the layer, and RoBERTa's embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from sekisho.convert.attention import Heads, attention
from sekisho.convert.blocks import Graph, Value, activation, layer_norm, linear
from sekisho.convert.family import Config, read
from sekisho.convert.packing import Packing


def encoder_layer(g: Graph, config: Config, name: str, x: Value, where: Packing, bias: Value, width: int) -> Value:
    """x [T, H]: attention and feed-forward, each with its residual and a norm after it."""
    heads = Heads.of(width, read(config, "num_attention_heads", int))
    query, key, value = _projections(g, f"{name}.attention.self", x, width)
    mixed = attention(g, query, key, value, where, [bias], heads)
    mixed = linear(g, mixed, f"{name}.attention.output.dense", width, width)
    x = layer_norm(g, g.op.Add(mixed, x), f"{name}.attention.output.LayerNorm", width, epsilon(config))
    return feed_forward(g, config, name, x, width, epsilon(config))


def _projections(g: Graph, name: str, x: Value, width: int) -> Sequence[Value]:
    """Queries, keys and values, from a weight each or from one that holds the three (`packed`)."""
    if f"{name}.packed.weight" not in g.weights:
        return [linear(g, x, f"{name}.{part}", width, width) for part in ("query", "key", "value")]
    return g.op.Split(linear(g, x, f"{name}.packed", width, 3 * width), num_outputs=3, axis=-1, _outputs=3)


def feed_forward(g: Graph, config: Config, name: str, x: Value, width: int, eps: float) -> Value:
    """The second half of a layer: wider, an activation, narrower, its residual and a norm."""
    inner = read(config, "intermediate_size", int)
    grown = linear(g, x, f"{name}.intermediate.dense", width, inner)
    grown = activation(read(config, "hidden_act", str, "gelu"))(g, grown)
    grown = linear(g, grown, f"{name}.output.dense", inner, width)
    return layer_norm(g, g.op.Add(grown, x), f"{name}.output.LayerNorm", width, eps)


def counted_embeddings(g: Graph, config: Config, ids: Value, where: Packing, width: int) -> Value:
    """RoBERTa's embeddings [T, H]: words, counted positions, and the one segment, added to the positions here."""
    op = g.op
    rows, padding = read(config, "max_position_embeddings", int), read(config, "pad_token_id", int, 1)
    words = g.weight("embeddings.word_embeddings.weight", read(config, "vocab_size", int), width)
    learned = g.weights.take("embeddings.position_embeddings.weight", rows, width)
    kinds = g.weights.take("embeddings.token_type_embeddings.weight", read(config, "type_vocab_size", int, 1), width)
    table = g.constant("embeddings.position_and_segment", learned + kinds[:1])
    places = where.pack(g, position_ids(g, ids, padding))
    x = op.Add(op.Gather(words, where.pack(g, ids)), op.Gather(table, places))
    return layer_norm(g, x, "embeddings.LayerNorm", width, epsilon(config))


def position_ids(g: Graph, ids: Value, padding: int) -> Value:
    """Counted over the ids that are not `padding`, from padding + 1; padding itself stays at `padding`."""
    op = g.op
    present = op.Cast(op.Not(op.Equal(ids, padding)), to=ir.DataType.INT32)
    counted = op.CumSum(present, op.Constant(value_int=1))
    return op.Add(op.Mul(counted, present), padding)


def epsilon(config: Config, default: float = 1e-12) -> float:
    """Of every norm (transformers' default for BERT is 1e-12)."""
    return read(config, "layer_norm_eps", float, default)
