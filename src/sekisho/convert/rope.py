"""Rotary frequencies as a config scales them to longer texts than the model was first trained on.

transformers modeling_rope_utils.py. Only what one table holds for every length of text is here: `dynamic` and
`longrope` compute other frequencies for long batches than for short ones, so a text's vector would hang on its
neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sekisho.convert.attention import inverse_frequencies
from sekisho.convert.family import Config, read, require
from sekisho.errors import ConversionFailed

Scaling = Mapping[str, Any]


@dataclass(frozen=True)
class Frequencies:
    """values: float64 [D/2], radians a position; gain: what cosines and sines are multiplied by (YaRN)."""

    values: NDArray[np.float64]
    gain: float = 1.0


def frequencies(config: Config, size: int) -> Frequencies:
    """The frequencies of heads of `size`. Raises ConversionFailed for a scaling that is not read here.

    transformers 5 keeps base and scaling in `rope_parameters`; before, each had a key of its own.
    """
    moved = config.get("rope_parameters")
    base = read(moved if isinstance(moved, dict) else config, "rope_theta", float, 10_000.0)
    scaling: Scaling = moved if isinstance(moved, dict) else config.get("rope_scaling") or {}
    require(scaling, "partial_rotary_factor", 1.0)
    for key in ("full_attention", "sliding_attention"):
        require(scaling, key, None)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "yarn":
        return _yarn(config, scaling, size, base)
    plain = inverse_frequencies(size, base)
    static: dict[object, Callable[[], NDArray[np.float64]]] = {
        "default": lambda: plain,
        "linear": lambda: plain / _number(scaling, "factor"),
        "llama3": lambda: _llama3(plain, scaling),
    }
    if kind not in static:
        changes = "; its frequencies change with the length of a batch" if kind in {"dynamic", "longrope"} else ""
        raise ConversionFailed(
            f"config.json: rope_scaling type {kind!r}{changes}; this family supports default, linear, llama3 and yarn"
        )
    return Frequencies(static[kind]())


def _llama3(plain: NDArray[np.float64], scaling: Scaling) -> NDArray[np.float64]:
    """Long waves are stretched, short ones kept, between them a mixture."""
    factor, low, high, trained = (
        _number(scaling, key)
        for key in ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    )
    waves_in_context = trained * plain / (2 * math.pi)
    kept = np.clip((waves_in_context - low) / (high - low), 0.0, 1.0)
    return kept * plain + (1.0 - kept) * plain / factor


def _yarn(config: Config, scaling: Scaling, size: int, base: float) -> Frequencies:
    """The same by the number of turns in the trained context, and sharper attention (https://arxiv.org/abs/2309.00071).

    An optional number that is 0 counts as not given, as in transformers.
    """
    factor = _number(scaling, "factor")
    trained = scaling.get("original_max_position_embeddings") or read(config, "max_position_embeddings", int)

    def dimension(turns: float) -> float:
        """The dimension whose wave turns so often in the trained context."""
        return size * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = dimension(scaling.get("beta_fast") or 32), dimension(scaling.get("beta_slow") or 1)
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    high += 0.001 if low == high else 0.0
    stretched = np.clip((np.arange(size // 2) - low) / (high - low), 0.0, 1.0)
    plain = inverse_frequencies(size, base)
    return Frequencies(plain * (1.0 - stretched) + plain / factor * stretched, _sharpness(scaling, factor))


def _sharpness(scaling: Scaling, factor: float) -> float:
    given, over, under = (scaling.get(key) for key in ("attention_factor", "mscale", "mscale_all_dim"))
    if given is not None:
        return _number(scaling, "attention_factor")

    def grown(by: float) -> float:
        return 0.1 * by * math.log(factor) + 1.0 if factor > 1 else 1.0

    return grown(over) / grown(under) if over and under else grown(1.0)


def _number(scaling: Scaling, key: str) -> float:
    return read(scaling, key, float, where="rope_scaling")
