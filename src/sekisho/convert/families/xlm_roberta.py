"""XLM-RoBERTa: BERT's layers, positions counted over the tokens that are not padding, starting after the padding id.

transformers models/xlm_roberta/modeling_xlm_roberta.py (create_position_ids_from_input_ids). Also read: RoBERTa,
CamemBERT, and jina's implementation with weights of other names.
"""

from __future__ import annotations

from sekisho.contract import Kind
from sekisho.convert.attention import padding_bias
from sekisho.convert.blocks import Graph, Value, linear
from sekisho.convert.family import Body, Config, Family, labels, read, require
from sekisho.convert.packing import INPUTS, WHERE, packing
from sekisho.convert.post_norm import counted_embeddings, encoder_layer


def positions(config: Config) -> int:
    """Rows of the position table that a token can have: those up to the padding id are never used."""
    return read(config, "max_position_embeddings", int) - read(config, "pad_token_id", int, 1) - 1


def build(g: Graph, config: Config, _kind: Kind) -> Body:
    """The encoder. Pairs need no segments: there is one."""
    require(config, "position_embedding_type", "absolute")
    require(config, "is_decoder", False)
    ids, mask = (g.input(name) for name in INPUTS)
    where, bias, width = packing(g), padding_bias(g, mask), read(config, "hidden_size", int)
    x = counted_embeddings(g, config, ids, where, width)
    for layer in range(read(config, "num_hidden_layers", int)):
        x = encoder_layer(g, config, f"encoder.layer.{layer}", x, where, bias, width)
    return Body(where.spread(g, x), mask, (*INPUTS, *WHERE), width)


def classify(g: Graph, config: Config, body: Body) -> Value:
    """First token → dense → tanh → out_proj (XLMRobertaClassificationHead)."""
    first = g.op.Gather(body.hidden, g.op.Constant(value_int=0), axis=1)
    dense = g.op.Tanh(linear(g, first, "classifier.dense", body.width, body.width))
    return linear(g, dense, "classifier.out_proj", body.width, labels(config))


#: What jina's own implementation calls the same weights; it packs the three projections into one.
#: Source: convert_roberta_weights_to_flash.py of jinaai/xlm-roberta-flash-implementation.
_FLASH = (
    (r"^emb_ln\.", "embeddings.LayerNorm."),
    (r"^encoder\.layers\.(\d+)\.mixer\.Wqkv\.", r"encoder.layer.\1.attention.self.packed."),
    (r"^encoder\.layers\.(\d+)\.mixer\.out_proj\.", r"encoder.layer.\1.attention.output.dense."),
    (r"^encoder\.layers\.(\d+)\.norm1\.", r"encoder.layer.\1.attention.output.LayerNorm."),
    (r"^encoder\.layers\.(\d+)\.mlp\.fc1\.", r"encoder.layer.\1.intermediate.dense."),
    (r"^encoder\.layers\.(\d+)\.mlp\.fc2\.", r"encoder.layer.\1.output.dense."),
    (r"^encoder\.layers\.(\d+)\.norm2\.", r"encoder.layer.\1.output.LayerNorm."),
)

FAMILY = Family(
    name="xlm-roberta",
    model_types=("xlm-roberta", "roberta", "camembert"),
    rename=(
        (r"^(roberta|model)\.", ""),
        *_FLASH,
        (r"LayerNorm\.gamma$", "LayerNorm.weight"),
        (r"LayerNorm\.beta$", "LayerNorm.bias"),
    ),
    unused=(r"^lm_head\.", r"^pooler\.", r"position_ids$"),
    head=(r"^classifier\.",),
    positions=positions,
    build=build,
    classify=classify,
)
