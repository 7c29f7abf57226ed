"""BERT: post-norm encoder, learned positions from 0 (Devlin et al. 2018; transformers models/bert/modeling_bert.py)."""

from __future__ import annotations

from sekisho.contract import Kind
from sekisho.convert.attention import padding_bias
from sekisho.convert.blocks import Graph, Value, layer_norm, linear
from sekisho.convert.family import Body, Config, Family, labels, read, require
from sekisho.convert.packing import INPUTS, WHERE, Packing, packing
from sekisho.convert.post_norm import encoder_layer, epsilon


def positions(config: Config) -> int:
    """Rows of the position table."""
    return read(config, "max_position_embeddings", int)


def build(g: Graph, config: Config, kind: Kind) -> Body:
    """The encoder; a reranker's also reads which of the two texts each token belongs to."""
    require(config, "position_embedding_type", "absolute")
    require(config, "is_decoder", False)
    inputs = (*INPUTS, *(("token_type_ids",) if kind == "reranker" else ()))
    ids, mask, *segments = (g.input(name) for name in inputs)
    where, bias, width = packing(g), padding_bias(g, mask), read(config, "hidden_size", int)
    x = _embeddings(g, config, ids, segments, where, width)
    for layer in range(read(config, "num_hidden_layers", int)):
        x = encoder_layer(g, config, f"encoder.layer.{layer}", x, where, bias, width)
    return Body(where.spread(g, x), mask, (*inputs, *WHERE), width)


def classify(g: Graph, config: Config, body: Body) -> Value:
    """First token → dense → tanh → classifier (BertPooler, BertForSequenceClassification)."""
    first = g.op.Gather(body.hidden, g.op.Constant(value_int=0), axis=1)
    pooled = g.op.Tanh(linear(g, first, "pooler.dense", body.width, body.width))
    return linear(g, pooled, "classifier", body.width, labels(config))


def _embeddings(g: Graph, config: Config, ids: Value, segments: list[Value], where: Packing, width: int) -> Value:
    """Word + position + segment, packed.

    A single text is all segment 0, so that row is added to the position table once, here.
    """
    op = g.op
    words = g.weight("embeddings.word_embeddings.weight", read(config, "vocab_size", int), width)
    places = g.weights.take("embeddings.position_embeddings.weight", positions(config), width)
    kinds = g.weights.take("embeddings.token_type_embeddings.weight", read(config, "type_vocab_size", int), width)
    table = g.constant("embeddings.position_and_segment", places if segments else places + kinds[:1])
    x = op.Add(op.Gather(words, where.pack(g, ids)), op.Gather(table, where.positions(g)))
    for segment in segments:
        x = op.Add(x, op.Gather(g.constant("embeddings.token_type_embeddings.weight", kinds), where.pack(g, segment)))
    return layer_norm(g, x, "embeddings.LayerNorm", width, epsilon(config))


FAMILY = Family(
    name="bert",
    model_types=("bert",),
    rename=((r"^bert\.", ""), (r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
    unused=(r"^cls\.", r"position_ids$"),
    head=(r"^pooler\.", r"^classifier\."),
    positions=positions,
    build=build,
    classify=classify,
)
