"""Tiny checkpoints as int8 needs them: wide enough for groups of channels, and with loud channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from tests.checkpoints_encoders import tiny_encoder, write_tiny_encoder

Weight = NDArray[np.float32]

#: Two groups of 64 channels, and three inside.
_WIDE = {
    "hidden_size": 128, "dim": 128, "intermediate_size": 192, "hidden_dim": 192, "num_attention_heads": 4, "n_heads": 4,
    "head_dim": 32, "num_key_value_heads": 2,
}  # fmt: skip
#: One in each group of 64.
_OUTLIERS = [5, 70]
_LOUDER = np.float32(512)


def widened(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same architecture with products of whole groups."""
    return {key: _WIDE.get(key, value) for key, value in config.items()}


def write_outliers(directory: Path) -> Path:
    """A ModernBERT in whose feed-forward layers one channel of 64, inside, is 512 times as loud as the others.

    The weights that read it are as much smaller, so nothing changes in floating point: both factors are powers of two.
    A scale for 64 channels of a token leaves the other 63 less than half a step.
    """

    def louder(weights: dict[str, Weight], name: str) -> None:
        gate = len(weights[name]) // 2  # the second half is multiplied with the first, which alone is activated
        weights[name][[gate + channel for channel in _OUTLIERS]] *= _LOUDER
        weights[name.replace(".Wi.", ".Wo.")][:, _OUTLIERS] /= _LOUDER

    return _write_louder(directory, "mlp.Wi.weight", louder)


def write_loud_norms(directory: Path) -> Path:
    """The same, with the loud channels in what the norms before those layers give."""

    def louder(weights: dict[str, Weight], name: str) -> None:
        weights[name][_OUTLIERS] *= _LOUDER
        weights[name.replace("mlp_norm", "mlp.Wi")][:, _OUTLIERS] /= _LOUDER

    return _write_louder(directory, "mlp_norm.weight", louder)


def _write_louder(directory: Path, ending: str, louder: Callable[[dict[str, Weight], str], None]) -> Path:
    spec = tiny_encoder("modernbert-mean")
    write_tiny_encoder(replace(spec, config=widened(spec.config)), directory)
    weights = load_file(directory / "model.safetensors")
    for name in [name for name in weights if name.endswith(ending)]:
        louder(weights, name)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory
