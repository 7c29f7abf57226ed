"""ModernBERT: pre-norm, rotary positions, global attention in every third layer and a local window elsewhere.

transformers models/modernbert/modeling_modernbert.py; Warner et al. 2024. No weight has a bias but the classifier's.
"""

from __future__ import annotations

from sekisho.contract import Kind
from sekisho.convert.attention import (
    Heads,
    Rotary,
    attend,
    inverse_frequencies,
    rotary,
    rotate,
    split_heads,
)
from sekisho.convert.blocks import Graph, Value, activation, layer_norm, linear, pool
from sekisho.convert.family import Body, Config, Family, labels, read, require
from sekisho.convert.packing import INPUTS, WHERE, packing
from sekisho.convert.windows import Blocks, attend_near, cut, longest, shaped
from sekisho.errors import ConversionFailed


def positions(config: Config) -> int:
    """Rotary positions need no table; this is how far the model was trained."""
    return read(config, "max_position_embeddings", int)


def build(g: Graph, config: Config, _kind: Kind) -> Body:
    """The encoder."""
    for key in ("attention_bias", "mlp_bias", "norm_bias"):
        require(config, key, False)
    require(config, "rope_scaling", None)
    ids, mask = (g.input(name) for name in INPUTS)
    where = packing(g)
    width = read(config, "hidden_size", int)
    heads = Heads.of(width, read(config, "num_attention_heads", int))
    radius = read(config, "local_attention", int, 128) // 2
    blocks, last = cut(g, where, mask, radius), longest(g.max_tokens, radius)
    turns = {
        kind: rotary(
            g, f"rotary.{kind}", blocks.where.slots, inverse_frequencies(heads.size, theta(config, kind)), last
        )
        for kind in ("full_attention", "sliding_attention")
    }
    words = g.weight("embeddings.tok_embeddings.weight", read(config, "vocab_size", int), width)
    x = g.op.Gather(words, where.pack(g, ids))
    x = layer_norm(g, x, "embeddings.norm", width, _epsilon(config), bias=False)
    for layer, kind in enumerate(layer_kinds(config)):
        name, limited = f"layers.{layer}", kind == "sliding_attention"
        # The first layer's attention follows the embedding's norm directly.
        normed = layer_norm(g, x, f"{name}.attn_norm", width, _epsilon(config), bias=False) if layer else x
        x = g.op.Add(x, _attention(g, f"{name}.attn", normed, blocks, turns[kind], heads, limited=limited))
        x = g.op.Add(x, _grown(g, config, f"{name}.mlp", x, f"{name}.mlp_norm"))
    x = layer_norm(g, x, "final_norm", width, _epsilon(config), bias=False)
    return Body(where.spread(g, x), mask, (*INPUTS, *WHERE), width)


def classify(g: Graph, config: Config, body: Body) -> Value:
    """Pooling by `classifier_pooling` → dense → activation → norm → classifier (ModernBertPredictionHead)."""
    how = read(config, "classifier_pooling", str, "cls")
    if how not in ("cls", "mean"):
        raise ConversionFailed(f"config.json: 'classifier_pooling' is {how!r}, expected 'cls' or 'mean'")
    pooled = pool(g, body.hidden, body.mask, "cls" if how == "cls" else "mean")
    dense = linear(g, pooled, "head.dense", body.width, body.width, bias=bool(config.get("classifier_bias", False)))
    dense = activation(read(config, "classifier_activation", str, "gelu"))(g, dense)
    dense = layer_norm(g, dense, "head.norm", body.width, _epsilon(config), bias=bool(config.get("norm_bias", False)))
    return linear(g, dense, "classifier", body.width, labels(config))


def layer_kinds(config: Config) -> list[str]:
    """`full_attention` or `sliding_attention` a layer: listed by transformers 5, counted out before."""
    listed = config.get("layer_types")
    if isinstance(listed, list):
        return [str(kind) for kind in listed]
    every = read(config, "global_attn_every_n_layers", int, 3)
    count = read(config, "num_hidden_layers", int)
    return ["full_attention" if layer % every == 0 else "sliding_attention" for layer in range(count)]


def theta(config: Config, kind: str) -> float:
    """transformers 5 writes `rope_parameters` by kind of layer; before, each kind had a key of its own."""
    grouped = config.get("rope_parameters")
    if isinstance(grouped, dict) and isinstance(grouped.get(kind), dict):
        require(grouped[kind], "rope_type", "default")
        return read(grouped[kind], "rope_theta", float)
    if kind == "full_attention":
        return read(config, "global_rope_theta", float, 160_000.0)
    if "local_rope_theta" in config and config["local_rope_theta"] is None:
        return theta(config, "full_attention")
    return read(config, "local_rope_theta", float, 10_000.0)


def _attention(g: Graph, name: str, x: Value, blocks: Blocks, turn: Rotary, heads: Heads, *, limited: bool) -> Value:
    """limited: to the window."""
    width = heads.count * heads.size
    packed = linear(g, x, f"{name}.Wqkv", width, 3 * width, bias=False)
    query, key, value = (
        blocks.where.spread(g, part) for part in g.op.Split(packed, num_outputs=3, axis=-1, _outputs=3)
    )
    if limited:
        mixed = attend_near(g, query, key, value, blocks, turn, heads)
    else:
        query, key, value = (split_heads(g, part, heads.count, heads.size) for part in (query, key, value))
        seen = ("rows", heads.count, "whole", heads.size)
        query, key = (shaped(rotate(g, part, turn, heads.size), *seen) for part in (query, key))
        mixed = attend(g, query, key, value, [blocks.padding], heads)
    return linear(g, blocks.where.pack_rows(g, mixed, width), f"{name}.Wo", width, width, bias=False)


def _grown(g: Graph, config: Config, name: str, x: Value, norm: str) -> Value:
    """The gated layer that is wider inside, after its norm."""
    op, width, inner = g.op, read(config, "hidden_size", int), read(config, "intermediate_size", int)
    normed = layer_norm(g, x, norm, width, _epsilon(config), bias=False)
    grown, gate = op.Split(
        linear(g, normed, f"{name}.Wi", width, 2 * inner, bias=False), num_outputs=2, axis=-1, _outputs=2
    )
    grown = op.Mul(activation(read(config, "hidden_activation", str, "gelu"))(g, grown), gate)
    return linear(g, grown, f"{name}.Wo", inner, width, bias=False)


def _epsilon(config: Config) -> float:
    return read(config, "norm_eps", float, 1e-5)


FAMILY = Family(
    name="modernbert",
    model_types=("modernbert",),
    rename=((r"^model\.", ""),),
    unused=(r"^decoder\.",),
    head=(r"^head\.", r"^classifier\."),
    positions=positions,
    build=build,
    classify=classify,
)
