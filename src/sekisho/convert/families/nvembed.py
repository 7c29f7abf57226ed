"""NV-Embed: Mistral without its causal mask, then latent attention over the tokens, then their mean.

https://arxiv.org/abs/2405.17428, section 3.1; names and order from the authors' public modeling_nvembed.py. Each
token's hidden state asks an array of learned vectors, the latents, by attention of several heads; a layer with a GELU
gate follows; both are added to what came in, and normalise what they read (Perceiver's PreNorm). The mean leaves out
the instruction.

The latents never change, so neither do their keys and values: a head's query projection and its keys become one matrix
[H, latents], its values and the output projection another. For NV-Embed-v2 that is 34 million numbers in place of 537.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sekisho.contract import Kind
from sekisho.convert.blocks import Graph, Value, activation, layer_norm, linear
from sekisho.convert.decoder_stack import positions as decoder_positions
from sekisho.convert.decoder_stack import stack
from sekisho.convert.family import Body, Config, Family, read, require
from sekisho.errors import ConversionFailed

#: transformers' MistralConfig; a nested config leaves out what is as here.
_MISTRAL: Final[Config] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-6,
}
#: The authors' LatentAttentionConfig.
_LATENT: Final[Config] = {
    "num_latents_value": 512,
    "num_cross_heads": 8,
    "output_normalize": True,
    "hidden_dim": 4096,
    "latent_dim": 4096,
    "cross_dim_head": 4096,
}
#: torch.nn.LayerNorm's own.
_EPSILON: Final = 1e-5
#: The gated layer's width, in widths of the model.
_GROWTH: Final = 4
_BLOCKS: Final = "latent_attention_model.cross_attend_blocks"


def positions(config: Config) -> int:
    """How far the model was trained."""
    return decoder_positions(_text(config))


def build(g: Graph, config: Config, kind: Kind) -> Body:
    """The decoder and the latent attention."""
    if kind == "reranker":
        raise ConversionFailed("the family 'nvembed' embeds: it has no head for pairs")
    require(config, "mask_type", "b")
    require(config, "padding_side", "right")
    text, latent = _text(config), _latent(config)
    body = stack(g, text)
    for key in ("hidden_dim", "latent_dim"):
        if latent[key] != body.width:
            raise ConversionFailed(
                f"config.json: latent_attention_config.{key} is {latent[key]!r}, the decoder's hidden_size {body.width}"
            )
    hidden = _gated(g, _ask_latents(g, latent, body.hidden, body.width), body.width)
    return Body(hidden, body.mask, body.inputs, body.width, read(text, "vocab_size", int))


def prompt_apart(config: Config) -> bool:
    """Whether the mean leaves out the instruction."""
    return bool(config.get("is_mask_instruction", True))


def normalized(config: Config) -> bool:
    """Whether the mean is divided by its norm."""
    return bool(_latent(config)["output_normalize"])


def _text(config: Config) -> Config:
    """The decoder's config. The authors build its mask themselves: no causality, and no window either."""
    both_ways = {"model_type": "mistral", "is_causal": False, "sliding_window": None}
    return {**_MISTRAL, **_nested(config, "text_config"), **both_ways}


def _latent(config: Config) -> Config:
    return {**_LATENT, **_nested(config, "latent_attention_config")}


def _nested(config: Config, key: str) -> Mapping[str, Any]:
    nested = config.get(key) or {}
    if not isinstance(nested, Mapping):
        raise ConversionFailed(f"config.json: {key!r} is {nested!r}, expected an object")
    return {name: value for name, value in nested.items() if value is not None}


def _ask_latents(g: Graph, latent: Config, x: Value, width: int) -> Value:
    """x [B, S, H] plus what its attention over the latents gives."""
    op, name, where = g.op, f"{_BLOCKS}.0", "config.json: latent_attention_config"
    heads, size, count = (
        read(latent, key, int, where=where) for key in ("num_cross_heads", "cross_dim_head", "num_latents_value")
    )
    queries = g.weights.promise(f"{name}.fn.to_q.weight", heads * size, width)
    keys_values = g.weights.promise(f"{name}.fn.to_kv.weight", 2 * heads * size, width)
    output = g.weights.promise(f"{name}.fn.to_out.weight", width, heads * size)
    latents = _read_latents(g, f"{name}.norm_context", count, width)
    parts = [slice(head * size, (head + 1) * size) for head in range(heads)]

    def asking() -> NDArray[np.float32]:
        """[H, heads · latents]: of each head the query projection times the keys, over the root of its size."""
        project, own, stored = queries(), latents(), keys_values()[: heads * size]
        folded = [project[part].T @ (own @ stored[part].T).T for part in parts]
        return (np.concatenate(folded, axis=1) / math.sqrt(size)).astype(np.float32)

    def answering() -> NDArray[np.float32]:
        """[heads · latents, H]: of each head the values times the output projection."""
        project, own, stored = output(), latents(), keys_values()[heads * size :]
        folded = [(own @ stored[part].T) @ project[:, part].T for part in parts]
        return np.concatenate(folded).astype(np.float32)

    one = heads * size * width  # a projection's parameters
    ask = g.computed(f"{name}.asking", (width, heads * count), asking, made_of=3 * one + (count + 2) * width)
    answer = g.computed(f"{name}.answering", (heads * count, width), answering, made_of=one)
    scores = op.MatMul(layer_norm(g, x, f"{name}.norm", width, _EPSILON), ask)
    shares = op.Softmax(op.Reshape(scores, [0, 0, heads, count]), axis=-1)
    return op.Add(x, op.MatMul(op.Reshape(shares, [0, 0, heads * count]), answer))


def _read_latents(g: Graph, name: str, count: int, width: int) -> Callable[[], NDArray[np.float64]]:
    """The latents [latents, H] behind their norm."""
    stored = g.weights.promise("latent_attention_model.latents", count, width)
    scale, shift = (g.weights.promise(f"{name}.{part}", width) for part in ("weight", "bias"))

    def normed() -> NDArray[np.float64]:
        rows = stored().astype(np.float64)
        centred = rows - rows.mean(axis=1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + _EPSILON)
        return centred / deviation * scale() + shift()

    return normed


def _gated(g: Graph, x: Value, width: int) -> Value:
    """x plus a layer whose first half is multiplied by the GELU of its second (Shazeer 2020, GEGLU)."""
    name = f"{_BLOCKS}.1"
    normed = layer_norm(g, x, f"{name}.norm", width, _EPSILON)
    both = linear(g, normed, f"{name}.fn.net.0", width, 2 * _GROWTH * width)
    grown, gate = g.op.Split(both, num_outputs=2, axis=-1, _outputs=2)
    grown = g.op.Mul(grown, activation("gelu")(g, gate))
    return g.op.Add(x, linear(g, grown, f"{name}.fn.net.2", _GROWTH * width, width))


FAMILY = Family(
    name="nvembed",
    model_types=("nvembed",),
    rename=((r"^embedding_model\.", ""),),
    unused=(r"rotary_emb\.inv_freq$",),
    head=(),
    positions=positions,
    build=build,
    pooling="latent",
    frame=("<s>", "</s>"),
    prompt_apart=prompt_apart,
    normalized=normalized,
)
