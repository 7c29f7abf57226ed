"""The stack of Llama, Mistral and Qwen: pre-norm layers with RMS norms, rotary positions and SwiGLU.

transformers models/{llama,mistral,qwen2,qwen3}. What differs hangs on `model_type`: which projections have biases,
norms of heads (Qwen3), which layers see a window only (Mistral, Qwen). With `is_causal: false` every token sees every
other (LLM2Vec-like encoders).
"""

from __future__ import annotations

from sekisho.convert.attention import (
    Heads,
    Rotary,
    attend,
    causal_bias,
    padding_bias,
    rotary,
    rotate,
    split_heads,
    window_bias,
)
from sekisho.convert.blocks import Graph, Value, activation, linear, rms_norm
from sekisho.convert.family import Body, Config, read, require
from sekisho.convert.packing import INPUTS, WHERE, Packing, packing
from sekisho.convert.rope import frequencies
from sekisho.errors import ConversionFailed


def positions(config: Config) -> int:
    """Rotary positions need no table; this is how far the model was trained."""
    return read(config, "max_position_embeddings", int)


def stack(g: Graph, config: Config) -> Body:
    """The layers and the norm behind them, without a language-model head."""
    require(config, "partial_rotary_factor", 1.0)
    ids, mask = (g.input(name) for name in INPUTS)
    where = packing(g)
    width, heads = read(config, "hidden_size", int), _heads(config)
    waves = frequencies(config, heads.size)
    turn = rotary(g, "rotary", ids, waves.values, g.max_tokens, waves.gain)
    x = g.op.Gather(g.weight("embed_tokens.weight", read(config, "vocab_size", int), width), where.pack(g, ids))
    biases: dict[int | None, Value] = {}
    for layer, window in enumerate(windows(config)):
        reach = window if window and window < g.max_tokens else None
        if reach not in biases:
            biases[reach] = _bias(g, config, ids, mask, reach)
        x = _layer(g, config, f"layers.{layer}", x, where, biases[reach], turn, heads)
    x = rms_norm(g, x, "norm", width, _epsilon(config))
    return Body(where.spread(g, x), mask, (*INPUTS, *WHERE), width)


def windows(config: Config) -> list[int | None]:
    """How many tokens each layer sees, itself included; None for all.

    Mistral's window is of every layer. Qwen's is switched off unless `use_sliding_window` says otherwise, and then of
    the layers listed, or of those from `max_window_layers` on. Llama has none.
    """
    count, kind = read(config, "num_hidden_layers", int), config.get("model_type")
    if kind not in {"qwen2", "qwen3"}:
        window = config.get("sliding_window", 4096) if kind == "mistral" else None
        return [window] * count
    if not config.get("use_sliding_window", False):
        return [None] * count
    window, first = config.get("sliding_window", 4096), read(config, "max_window_layers", int, 28)
    listed = config.get("layer_types")
    if isinstance(listed, list):
        return [window if named == "sliding_attention" else None for named in listed]
    return [window if layer >= first else None for layer in range(count)]


def _heads(config: Config) -> Heads:
    count = read(config, "num_attention_heads", int)
    # Qwen3's default is a number, the others' is what the width gives.
    default = 128 if config.get("model_type") == "qwen3" else read(config, "hidden_size", int) // count
    shared = read(config, "num_key_value_heads", int, count)
    if shared < 1 or count % shared:
        raise ConversionFailed(f"config.json: {count} heads cannot share {shared} keys evenly")
    return Heads(count, read(config, "head_dim", int, default), shared)


def _bias(g: Graph, config: Config, ids: Value, mask: Value, window: int | None) -> Value:
    bias = padding_bias(g, mask)
    if config.get("is_causal", True):
        bias = causal_bias(g, ids, bias)
    elif window:
        raise ConversionFailed(
            f"config.json: is_causal is false and sliding_window is {window}: implementations differ in what that "
            f"means; set `max_tokens` in models.yaml to {window} or less"
        )
    # transformers masks keys `window` or more behind the query (masking_utils.py: kv_idx > q_idx - sliding_window).
    return window_bias(g, ids, bias, window - 1) if window else bias


def _layer(
    g: Graph, config: Config, name: str, x: Value, where: Packing, bias: Value, turn: Rotary, heads: Heads
) -> Value:
    op, width, inner = g.op, read(config, "hidden_size", int), read(config, "intermediate_size", int)
    shared = heads.key_value or heads.count
    normed = rms_norm(g, x, f"{name}.input_layernorm", width, _epsilon(config))
    query = _project(g, config, f"{name}.self_attn.q", normed, where, heads.count, heads.size)
    key = _project(g, config, f"{name}.self_attn.k", normed, where, shared, heads.size)
    value = _project(g, config, f"{name}.self_attn.v", normed, where, shared, heads.size)
    mixed = attend(g, rotate(g, query, turn, heads.size), rotate(g, key, turn, heads.size), value, [bias], heads)
    mixed = where.pack_rows(g, mixed, heads.count * heads.size)
    output_bias = _has(config, "attention_bias")
    x = op.Add(x, linear(g, mixed, f"{name}.self_attn.o_proj", heads.count * heads.size, width, bias=output_bias))
    normed = rms_norm(g, x, f"{name}.post_attention_layernorm", width, _epsilon(config))
    act, biased = activation(read(config, "hidden_act", str, "silu")), _has(config, "mlp_bias")
    gate = act(g, linear(g, normed, f"{name}.mlp.gate_proj", width, inner, bias=biased))
    grown = op.Mul(gate, linear(g, normed, f"{name}.mlp.up_proj", width, inner, bias=biased))
    return op.Add(x, linear(g, grown, f"{name}.mlp.down_proj", inner, width, bias=biased))


def _project(g: Graph, config: Config, name: str, x: Value, where: Packing, count: int, size: int) -> Value:
    """One projection in heads [B, count, S, size]; Qwen3 normalises each head of queries and keys."""
    biased = config.get("model_type") == "qwen2" or _has(config, "attention_bias")
    projected = linear(g, x, f"{name}_proj", read(config, "hidden_size", int), count * size, bias=biased)
    split = split_heads(g, where.spread(g, projected), count, size)
    normed = config.get("model_type") == "qwen3" and not name.endswith(".v")
    return rms_norm(g, split, f"{name}_norm", size, _epsilon(config)) if normed else split


def _has(config: Config, key: str) -> bool:
    return bool(config.get(key, False))


def _epsilon(config: Config) -> float:
    return read(config, "rms_norm_eps", float, 1e-6)
