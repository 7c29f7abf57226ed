"""DistilBERT: BERT with other names, no segments and no pooler (transformers models/distilbert)."""

from __future__ import annotations

from sekisho.contract import Kind
from sekisho.convert.attention import Heads, attention, padding_bias
from sekisho.convert.blocks import Graph, Value, activation, layer_norm, linear
from sekisho.convert.family import Body, Config, Family, labels, read, require
from sekisho.convert.packing import INPUTS, WHERE, Packing, packing

_EPSILON = 1e-12  # fixed in the model's code, not in its config


def positions(config: Config) -> int:
    """Rows of the position table."""
    return read(config, "max_position_embeddings", int)


def build(g: Graph, config: Config, _kind: Kind) -> Body:
    """The encoder. Pairs need no segments: there are none."""
    require(config, "sinusoidal_pos_embds", False, True)  # either way the table is stored
    op = g.op
    ids, mask = (g.input(name) for name in INPUTS)
    where, bias = packing(g), padding_bias(g, mask)
    width, rows = read(config, "dim", int), read(config, "max_position_embeddings", int)
    words = g.weight("embeddings.word_embeddings.weight", read(config, "vocab_size", int), width)
    places = g.weight("embeddings.position_embeddings.weight", rows, width)
    x = op.Add(op.Gather(words, where.pack(g, ids)), op.Gather(places, where.positions(g)))
    x = layer_norm(g, x, "embeddings.LayerNorm", width, _EPSILON)
    for layer in range(read(config, "n_layers", int)):
        x = _layer(g, config, f"transformer.layer.{layer}", x, where, bias, width)
    return Body(where.spread(g, x), mask, (*INPUTS, *WHERE), width)


def classify(g: Graph, config: Config, body: Body) -> Value:
    """First token → pre_classifier → ReLU → classifier (DistilBertForSequenceClassification)."""
    first = g.op.Gather(body.hidden, g.op.Constant(value_int=0), axis=1)
    dense = g.op.Relu(linear(g, first, "pre_classifier", body.width, body.width))
    return linear(g, dense, "classifier", body.width, labels(config))


def _layer(g: Graph, config: Config, name: str, x: Value, where: Packing, bias: Value, width: int) -> Value:
    heads, inner = Heads.of(width, read(config, "n_heads", int)), read(config, "hidden_dim", int)
    query, key, value = (linear(g, x, f"{name}.attention.{part}_lin", width, width) for part in ("q", "k", "v"))
    mixed = attention(g, query, key, value, where, [bias], heads)
    mixed = linear(g, mixed, f"{name}.attention.out_lin", width, width)
    x = layer_norm(g, g.op.Add(mixed, x), f"{name}.sa_layer_norm", width, _EPSILON)
    grown = activation(read(config, "activation", str, "gelu"))(g, linear(g, x, f"{name}.ffn.lin1", width, inner))
    grown = linear(g, grown, f"{name}.ffn.lin2", inner, width)
    return layer_norm(g, g.op.Add(grown, x), f"{name}.output_layer_norm", width, _EPSILON)


FAMILY = Family(
    name="distilbert",
    model_types=("distilbert",),
    rename=(
        (r"^distilbert\.", ""),
        (r"LayerNorm\.gamma$", "LayerNorm.weight"),
        (r"LayerNorm\.beta$", "LayerNorm.bias"),
    ),
    unused=(r"^vocab_", r"position_ids$"),
    head=(r"^pre_classifier\.", r"^classifier\."),
    positions=positions,
    build=build,
    classify=classify,
)
