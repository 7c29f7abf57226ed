"""DeBERTa v2 and v3: what a token is and how far away it stands are attended to apart.

He et al. 2021, https://arxiv.org/abs/2006.03654; transformers models/deberta_v2. There is no position table: a table of
relative distances, in buckets that widen with the distance, is projected by every layer. The projections hold nothing
of the text, so they are made here once, in float64.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sekisho.contract import Kind, even_length
from sekisho.convert.attention import Heads, attend, distances, padding_bias, split_heads
from sekisho.convert.blocks import Graph, Value, activation, layer_norm, linear
from sekisho.convert.family import Body, Config, Family, labels, read, require
from sekisho.convert.packing import INPUTS, WHERE, Packing, packing
from sekisho.convert.post_norm import epsilon, feed_forward
from sekisho.errors import ConversionFailed

_KINDS = ("c2p", "p2c")


class _Relative(NamedTuple):
    """What the layers share.

    table: float64 [2·span, H], a row a distance; span: the row of distance 0.
    rows: int64 [1, 1, S, S], the row of every pair; kinds: of `c2p` and `p2c` those that the config asks for.
    """

    table: NDArray[np.float64]
    span: int
    rows: Value
    kinds: tuple[str, ...]


def positions(config: Config) -> int:
    """There is no table that ends; this is how far the model was trained."""
    return read(config, "max_position_embeddings", int)


def build(g: Graph, config: Config, _kind: Kind) -> Body:
    """The encoder. Pairs need no segments: there are none."""
    require(config, "relative_attention", True)
    require(config, "position_biased_input", False)
    require(config, "type_vocab_size", 0)
    require(config, "conv_kernel_size", 0)
    width = read(config, "hidden_size", int)
    require(config, "embedding_size", width)
    ids, mask = (g.input(name) for name in INPUTS)
    where = packing(g)
    words = g.weight("embeddings.word_embeddings.weight", read(config, "vocab_size", int), width)
    x = layer_norm(g, g.op.Gather(words, where.pack(g, ids)), "embeddings.LayerNorm", width, epsilon(config, 1e-7))
    bias, relative = padding_bias(g, mask), _relative(g, config, ids, width)
    for layer in range(read(config, "num_hidden_layers", int)):
        x = _layer(g, config, f"encoder.layer.{layer}", x, where, bias, relative)
    return Body(where.spread(g, x), mask, (*INPUTS, *WHERE), width)


def classify(g: Graph, config: Config, body: Body) -> Value:
    """First token → dense → activation → classifier (ContextPooler, DebertaV2ForSequenceClassification)."""
    require(config, "pooler_hidden_size", body.width)
    first = g.op.Gather(body.hidden, g.op.Constant(value_int=0), axis=1)
    dense = linear(g, first, "pooler.dense", body.width, body.width)
    dense = activation(read(config, "pooler_hidden_act", str, "gelu"))(g, dense)
    return linear(g, dense, "classifier", body.width, labels(config))


def buckets(distance: NDArray[np.int64], count: int, furthest: int) -> NDArray[np.int64]:
    """Distances as signed bucket numbers: each its own up to count/2, then logarithmic up to `furthest`.

    In float32, as the models were trained: rounding decides where a bucket ends.
    """
    middle = count // 2
    near = np.abs(distance) <= middle
    size = np.where(near, middle, np.abs(distance)).astype(np.float32)
    stretch = np.log(np.float32((furthest - 1) / middle))
    grown = np.ceil(np.log(size / np.float32(middle)) / stretch * np.float32(middle - 1)) + np.float32(middle)
    return np.where(near, distance, grown.astype(np.int64) * np.sign(distance))


def _relative(g: Graph, config: Config, ids: Value, width: int) -> _Relative:
    count = read(config, "position_buckets", int, -1)
    furthest = read(config, "max_relative_positions", int, -1)
    furthest = furthest if furthest > 0 else positions(config)
    span = count if count > 0 else furthest
    table = g.weights.take("encoder.rel_embeddings.weight", 2 * span, width).astype(np.float64)
    g.parameters += table.size
    if "layer_norm" in _parts(config.get("norm_rel_ebd")):
        scale, shift = (g.weights.take(f"encoder.LayerNorm.{part}", width) for part in ("weight", "bias"))
        g.parameters += scale.size + shift.size
        centred = table - table.mean(axis=1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=1, keepdims=True) + epsilon(config, 1e-7))
        table = centred / spread * scale + shift
    kinds = _parts(config.get("pos_att_type"))
    if not kinds or not set(kinds) <= set(_KINDS):
        raise ConversionFailed(f"config.json: 'pos_att_type' is {config.get('pos_att_type')!r}; c2p and p2c are known")
    reach = even_length(g.max_tokens) - 1
    apart = np.arange(-reach, reach + 1)
    row = np.clip((buckets(apart, count, furthest) if count > 0 else apart) + span, 0, 2 * span - 1)
    rows = g.op.Gather(g.constant("relative.rows", row, learned=False), g.op.Add(distances(g, ids), reach))
    return _Relative(table, span, rows, kinds)


def _parts(value: Any) -> tuple[str, ...]:
    """A list, or one text with bars between: both are written."""
    listed = value.lower().split("|") if isinstance(value, str) else value or ()
    return tuple(str(part).strip() for part in listed)


def _layer(g: Graph, config: Config, name: str, x: Value, where: Packing, bias: Value, relative: _Relative) -> Value:
    width = read(config, "hidden_size", int)
    even = Heads.of(width, read(config, "num_attention_heads", int))
    require(config, "attention_head_size", even.size)
    heads = replace(even, scale=1.0 / math.sqrt(even.size * (1 + len(relative.kinds))))
    own = f"{name}.attention.self"
    query, key, value = (
        split_heads(g, where.spread(g, linear(g, x, f"{own}.{part}_proj", width, width)), heads.count, heads.size)
        for part in ("query", "key", "value")
    )
    shared = bool(config.get("share_att_key", False))
    biases = [bias]
    if "c2p" in relative.kinds:
        places = _places(g, f"{own}.{'key' if shared else 'pos_key'}_proj", f"{own}.c2p", relative, heads)
        biases.append(_picked(g, g.op.MatMul(query, places), relative.rows))
    if "p2c" in relative.kinds:
        places = _places(g, f"{own}.{'query' if shared else 'pos_query'}_proj", f"{own}.p2c", relative, heads)
        # A row a key here: the key's distance to the query is the query's to the key, seen from the other side.
        found = _picked(g, g.op.MatMul(key, places), g.op.Transpose(relative.rows, perm=[0, 1, 3, 2]))
        biases.append(g.op.Transpose(found, perm=[0, 1, 3, 2]))
    mixed = where.pack_rows(g, attend(g, query, key, value, biases, heads), width)
    mixed = linear(g, mixed, f"{name}.attention.output.dense", width, width)
    eps = epsilon(config, 1e-7)
    x = layer_norm(g, g.op.Add(mixed, x), f"{name}.attention.output.LayerNorm", width, eps)
    return feed_forward(g, config, name, x, width, eps)


def _places(g: Graph, stored: str, name: str, relative: _Relative, heads: Heads) -> Value:
    """The table through a projection, scaled as attention scores are → [1, N, D, 2·span]."""
    width = heads.count * heads.size
    weight, shift = g.weights.take(f"{stored}.weight", width, width), g.weights.take(f"{stored}.bias", width)
    made = (relative.table @ weight.T.astype(np.float64) + shift) * (heads.scale or 1.0)
    made = made.reshape(1, -1, heads.count, heads.size).transpose(0, 2, 3, 1)
    return g.constant(name, made.astype(np.float32), learned=False)


def _picked(g: Graph, scores: Value, rows: Value) -> Value:
    """scores [B, N, S, 2·span], rows [1, 1, S, S] → [B, N, S, S]: of each row the columns that are asked for."""
    op = g.op
    shape = op.Concat(op.Shape(scores, start=0, end=3), op.Shape(rows, start=3, end=4), axis=0)
    return op.GatherElements(scores, op.Expand(rows, shape), axis=3)


FAMILY = Family(
    name="deberta-v2",
    model_types=("deberta-v2",),
    rename=(
        (r"^deberta\.", ""),
        (r"LayerNorm\.gamma$", "LayerNorm.weight"),
        (r"LayerNorm\.beta$", "LayerNorm.bias"),
    ),
    # The v3 checkpoints kept a position table that their config turns off.
    unused=(r"^(cls|lm_predictions|mask_predictions)\.", r"^embeddings\.position_embeddings\.", r"position_ids$"),
    head=(r"^pooler\.", r"^classifier\."),
    positions=positions,
    build=build,
    classify=classify,
)
