"""LUKE's word path: without entities only the ordinary projections run, so the entity weights are dead and left out.

transformers models/luke/modeling_luke.py. Positions as in RoBERTa, layers as in BERT.
"""

from __future__ import annotations

from sekisho.contract import Kind
from sekisho.convert.attention import even_keys
from sekisho.convert.blocks import Graph
from sekisho.convert.family import Body, Config, Family, read
from sekisho.convert.post_norm import counted_embeddings, encoder_layer


def positions(config: Config) -> int:
    """Rows of the position table that a token can have: those up to the padding id are never used."""
    return read(config, "max_position_embeddings", int) - read(config, "pad_token_id", int, 1) - 1


def build(g: Graph, config: Config, _kind: Kind) -> Body:
    """The encoder over words."""
    ids, mask = g.input("input_ids"), g.input("attention_mask")
    width = read(config, "hidden_size", int)
    hidden = counted_embeddings(g, config, ids, width)
    even = even_keys(g, mask)
    for layer in range(read(config, "num_hidden_layers", int)):
        hidden = encoder_layer(g, config, f"encoder.layer.{layer}", hidden, even, width)
    return Body(hidden, mask, ("input_ids", "attention_mask"), width)


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
