"""Llama, Mistral and Qwen: pre-norm decoders with RMS norms, rotary positions, shared key-value heads and SwiGLU.

transformers models/{llama,mistral,qwen2,qwen3}. The differences are in config.json: head_dim, biases, head norms
(Qwen3), a sliding window (Mistral). With `is_causal: false` every token sees every other (LLM2Vec-like encoders).
"""

from __future__ import annotations

from sekisho.contract import Kind
from sekisho.convert.attention import (
    Heads,
    Rotary,
    attend,
    causal_bias,
    inverse_frequencies,
    padding_bias,
    rotary,
    rotate,
    split_heads,
    window_bias,
)
from sekisho.convert.blocks import Graph, Value, activation, linear, pool, rms_norm
from sekisho.convert.family import Body, Config, Family, labels, read, require


def positions(config: Config) -> int:
    """Rotary positions need no table; this is how far the model was trained."""
    return read(config, "max_position_embeddings", int)


def build(g: Graph, config: Config, _kind: Kind) -> Body:
    """The stack without a language-model head."""
    require(config, "rope_scaling", None)
    ids, mask = g.input("input_ids"), g.input("attention_mask")
    width, count = read(config, "hidden_size", int), read(config, "num_attention_heads", int)
    heads = Heads(count, read(config, "head_dim", int, width // count), read(config, "num_key_value_heads", int, count))
    bias = _bias(g, config, ids, mask)
    turn = rotary(g, "rotary", ids, inverse_frequencies(heads.size, theta(config)), g.max_tokens)
    x = g.op.Gather(g.weight("embed_tokens.weight", read(config, "vocab_size", int), width), ids)
    for layer in range(read(config, "num_hidden_layers", int)):
        x = _layer(g, config, f"layers.{layer}", x, bias, turn, heads, width)
    return Body(rms_norm(g, x, "norm", width, _epsilon(config)), mask, ("input_ids", "attention_mask"), width)


def classify(g: Graph, config: Config, body: Body) -> Value:
    """The last token's scores (…ForSequenceClassification)."""
    last = pool(g, body.hidden, body.mask, "last")
    return linear(g, last, "score", body.width, labels(config), bias=False)


def theta(config: Config) -> float:
    """transformers 5 moved it into `rope_parameters`."""
    moved = config.get("rope_parameters")
    if isinstance(moved, dict):
        require(moved, "rope_type", "default")
        return read(moved, "rope_theta", float, 10_000.0)
    return read(config, "rope_theta", float, 10_000.0)


def _bias(g: Graph, config: Config, ids: Value, mask: Value) -> Value:
    bias = padding_bias(g, mask)
    if config.get("is_causal", True):
        bias = causal_bias(g, ids, bias)
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    # transformers masks keys `window` or more behind the query, so the farthest it sees is window - 1 back.
    return window_bias(g, ids, bias, int(window) - 1) if window and int(window) < g.max_tokens else bias


def _layer(g: Graph, config: Config, name: str, x: Value, bias: Value, turn: Rotary, heads: Heads, width: int) -> Value:
    op, inner = g.op, read(config, "intermediate_size", int)
    normed = rms_norm(g, x, f"{name}.input_layernorm", width, _epsilon(config))
    query = _heads(g, config, f"{name}.self_attn.q", normed, heads.count, heads.size, width)
    key = _heads(g, config, f"{name}.self_attn.k", normed, heads.key_value or heads.count, heads.size, width)
    value = _heads(g, config, f"{name}.self_attn.v", normed, heads.key_value or heads.count, heads.size, width)
    mixed = attend(g, rotate(g, query, turn, heads.size), rotate(g, key, turn, heads.size), value, [bias], heads)
    output_bias = f"{name}.self_attn.o_proj.bias" in g.weights
    x = op.Add(x, linear(g, mixed, f"{name}.self_attn.o_proj", heads.count * heads.size, width, bias=output_bias))
    normed = rms_norm(g, x, f"{name}.post_attention_layernorm", width, _epsilon(config))
    act = activation(read(config, "hidden_act", str, "silu"))
    gate = act(g, linear(g, normed, f"{name}.mlp.gate_proj", width, inner, bias=False))
    grown = op.Mul(gate, linear(g, normed, f"{name}.mlp.up_proj", width, inner, bias=False))
    return op.Add(x, linear(g, grown, f"{name}.mlp.down_proj", inner, width, bias=False))


def _heads(g: Graph, config: Config, name: str, x: Value, count: int, size: int, width: int) -> Value:
    """One projection in heads [B, count, S, size], each normalised where the checkpoint holds a norm for it (Qwen3)."""
    projected = linear(g, x, f"{name}_proj", width, count * size, bias=f"{name}_proj.bias" in g.weights)
    split = split_heads(g, projected, count, size)
    return rms_norm(g, split, f"{name}_norm", size, _epsilon(config)) if f"{name}_norm.weight" in g.weights else split


def _epsilon(config: Config) -> float:
    return read(config, "rms_norm_eps", float, 1e-6)


FAMILY = Family(
    name="decoder",
    model_types=("llama", "mistral", "qwen2", "qwen3"),
    rename=((r"^model\.", ""),),
    unused=(r"^lm_head\.", r"rotary_emb\.inv_freq$"),
    head=(r"^score\.",),
    positions=positions,
    build=build,
    classify=classify,
)
