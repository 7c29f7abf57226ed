"""LUKE's word path: without entities only the ordinary projections run, so the entity weights are dead and left out.

transformers models/luke/modeling_luke.py. Positions as in RoBERTa, layers as in BERT.
"""

from __future__ import annotations

from sekisho.contract import Kind
from sekisho.convert.attention import padding_bias
from sekisho.convert.blocks import Graph
from sekisho.convert.family import Body, Config, Family, read
from sekisho.convert.packing import INPUTS, WHERE, packing
from sekisho.convert.post_norm import counted_embeddings, encoder_layer


def positions(config: Config) -> int:
    """Rows of the position table that a token can have: those up to the padding id are never used."""
    return read(config, "max_position_embeddings", int) - read(config, "pad_token_id", int, 1) - 1


def build(g: Graph, config: Config, _kind: Kind) -> Body:
    """The encoder over words."""
    ids, mask = (g.input(name) for name in INPUTS)
    where, bias, width = packing(g), padding_bias(g, mask), read(config, "hidden_size", int)
    x = counted_embeddings(g, config, ids, where, width)
    for layer in range(read(config, "num_hidden_layers", int)):
        x = encoder_layer(g, config, f"encoder.layer.{layer}", x, where, bias, width)
    return Body(where.spread(g, x), mask, (*INPUTS, *WHERE), width)


FAMILY = Family(
    name="luke",
    model_types=("luke",),
    rename=((r"^luke\.", ""),),
    unused=(
        r"^entity_embeddings\.",
        r"\.(w2e|e2w|e2e)_query\.",
        r"^(pooler|lm_head|entity_predictions)\.",
        r"position_ids$",
    ),
    head=(),
    positions=positions,
    build=build,
)
