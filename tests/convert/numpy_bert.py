"""BERT in NumPy float64, written from the paper and the config alone: a second opinion on the graphs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.checkpoints import TinyBert, Weights

Array = NDArray[np.float64]

_erf = np.vectorize(math.erf)

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": lambda x: 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0))),
    "gelu_new": lambda x: 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))),
    "gelu_fast": lambda x: 0.5 * x * (1.0 + np.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x))),
    "gelu_pytorch_tanh": lambda x: 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0.0),
    "silu": lambda x: x / (1.0 + np.exp(-x)),
    "swish": lambda x: x / (1.0 + np.exp(-x)),
    "tanh": np.tanh,
}


def hidden_states(spec: TinyBert, weights: Weights, ids: NDArray[Any]) -> Array:
    """ids [S] of one text → last hidden states [S, H]."""
    w = {name: tensor.astype(np.float64) for name, tensor in weights.items()}

    def linear(x: Array, name: str) -> Array:
        return np.asarray(x @ w[f"{name}.weight"].T + w[f"{name}.bias"])

    def norm(x: Array, name: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + spec.eps)
        scaled = centred / spread * w[f"{name}.LayerNorm.weight"]
        return np.asarray(scaled + w[f"{name}.LayerNorm.bias"])

    length, size = len(ids), spec.hidden // spec.heads
    x = (
        w["embeddings.word_embeddings.weight"][ids]
        + w["embeddings.position_embeddings.weight"][:length]
        + w["embeddings.token_type_embeddings.weight"][0]
    )
    x = norm(x, "embeddings")
    for layer in range(spec.layers):
        name = f"encoder.layer.{layer}"
        query, key, value = (
            linear(x, f"{name}.attention.self.{part}").reshape(length, spec.heads, size).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(size)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        mixed = (shares @ value).transpose(1, 0, 2).reshape(length, spec.hidden)
        x = norm(x + linear(mixed, f"{name}.attention.output.dense"), f"{name}.attention.output")
        grown = ACTIVATIONS[spec.hidden_act](linear(x, f"{name}.intermediate.dense"))
        x = norm(x + linear(grown, f"{name}.output.dense"), f"{name}.output")
    return x


def pooled(hidden: Array, how: str) -> Array:
    """[S, H] of one text without padding → [H]."""
    if how == "cls":
        return np.asarray(hidden[0])
    if how == "last":
        return np.asarray(hidden[-1])
    if how == "max":
        return np.asarray(hidden.max(axis=0))
    shares = np.ones(len(hidden)) if how == "mean" else np.arange(1, len(hidden) + 1)
    return np.asarray((hidden * shares[:, None]).sum(axis=0) / shares.sum())
