"""Floats to int8: the arithmetic of weights and of what they are multiplied with. Pure.

Weights are symmetric, at most 127 steps to each side, with a scale for each column or for each group of input channels
of a column. K: input channels, N: columns, T: tokens.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rounded = tuple[NDArray[np.int8], Floats]

GROUP: Final = 64
_MOST: Final = 127
#: Rows that are rounded before what they left over is carried to all others.
_BLOCK: Final = 64
#: Added to the diagonal of the tokens' products, as a share of its mean: 1 %, as GPTQ has it.
_DAMPING: Final = 0.01
#: Of a channel's reach, how much is moved into the weights that read it; the rest stays with the tokens. 0.5 is
#: SmoothQuant's. All from 0.8 to 0.95 were equally near fp32 here, where `fitted` mends what the weights lose.
_MOVED: Final = 0.9
#: Values of texts that nobody calibrated with reach farther; beyond this they are cut.
_MARGIN: Final = 1.1


def scales_of(weight: Floats, group: int | None) -> Floats:
    """weight [K, N] → its scales [K / group, N], or [1, N]."""
    blocks = weight.reshape(-1, group or len(weight), weight.shape[1])
    scales: Floats = np.abs(blocks).max(axis=1) / np.float32(_MOST)
    scales[scales == 0] = 1.0
    return scales


def nearest(weight: Floats, group: int | None) -> Rounded:
    """weight [K, N] → the int8 nearest to each, and its scales."""
    scales = scales_of(weight, group)
    return _rint(weight / _steps(weight, scales)), scales


def fitted(weight: Floats, tokens: Floats, group: int | None) -> Rounded:
    """weight [K, N] → int8 and scales whose product with `tokens` [T, K] stays near that of `weight`.

    GPTQ (Frantar et al. 2022, https://arxiv.org/abs/2210.17323), in the form of Babai's nearest plane (Chen et al.
    2025, https://arxiv.org/abs/2507.18553): with tokensᵀ·tokens = L·Lᵀ, rows are rounded from the last to the first,
    each after what the ones behind it left over was added to it. The loudest channels come last, so they are rounded
    first, and the quiet ones make up for them.
    """
    scales = scales_of(weight, group)
    order = np.argsort(np.square(tokens).sum(axis=0), kind="stable")
    ways = _ways(tokens[:, order])
    steps = _steps(weight, scales)[order]
    rounded = np.empty(weight.shape, np.int8)
    rounded[order] = _from_the_last(weight[order], steps, ways)
    return rounded, scales


def _steps(weight: Floats, scales: Floats) -> Floats:
    """Each weight's own."""
    steps: Floats = np.repeat(scales, len(weight) // len(scales), axis=0)
    return steps


def _ways(tokens: Floats) -> Floats:
    """How what row j left over reaches row i < j: L[j, i] / L[i, i]."""
    squares = (tokens.T @ tokens).astype(np.float64)
    diagonal = np.einsum("ii->i", squares)
    diagonal += _DAMPING * diagonal.mean() or 1.0
    lower = np.linalg.cholesky(squares)
    return (lower / np.diag(lower)).astype(np.float32)


def _from_the_last(weight: Floats, steps: Floats, ways: Floats) -> NDArray[np.int8]:
    rounded, left = np.empty(weight.shape, np.int8), np.zeros_like(weight)
    for end in range(len(weight), 0, -_BLOCK):
        start = max(0, end - _BLOCK)
        wanted = weight[start:end] + ways[end:, start:end].T @ left[end:]
        for row in range(end - 1, start - 1, -1):
            aim = wanted[row - start] + ways[row + 1 : end, row] @ left[row + 1 : end]
            rounded[row] = _rint(aim / steps[row])
            left[row] = weight[row] - rounded[row] * steps[row]
    return rounded


def _rint(values: Floats) -> NDArray[np.int8]:
    return np.clip(np.rint(values), -_MOST, _MOST).astype(np.int8)


def level(lowest: Floats, highest: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """(middle, reach) [K] of what a product is given: (x - middle) / reach lies within one scale for all channels, ±1.

    lowest, highest: of each channel, over the calibration texts. weight [K, N]: all that reads it, side by side.

    SmoothQuant (Xiao et al. 2022, https://arxiv.org/abs/2211.10438) moves the reach of loud channels into the weights,
    Outlier Suppression+ (Wei et al. 2023, https://arxiv.org/abs/2304.09145) takes their middle away first.
    """
    middle = (lowest + highest) / 2
    half = (highest - lowest) / 2
    heard = np.abs(weight).max(axis=1)
    tiny = np.float32(1e-6) * max(float(half.max()), float(np.finfo(np.float32).tiny))
    reach = np.maximum(half, tiny) ** _MOVED / np.maximum(heard, np.float32(1e-6)) ** (1 - _MOVED)
    return middle.astype(np.float32), (reach * (half / reach).max() * _MARGIN).astype(np.float32)
