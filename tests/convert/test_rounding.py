"""Floats to int8: weights to the nearest step, weights fitted to tokens, channels levelled."""

from __future__ import annotations

import numpy as np
import pytest

from sekisho.convert.rounding import Floats, fitted, level, nearest

CHANNELS, COLUMNS = 192, 24
RNG = np.random.default_rng


def weights() -> Floats:
    return RNG(1).normal(size=(CHANNELS, COLUMNS)).astype(np.float32)


def tokens(count: int, seed: int) -> Floats:
    """Channels that go together and differ in size, as those of a layer do."""
    mixed = RNG(2).normal(size=(CHANNELS // 4, CHANNELS)) * np.geomspace(0.1, 10, CHANNELS)
    return (RNG(seed).normal(size=(count, CHANNELS // 4)) @ mixed).astype(np.float32)


def held(rounded: np.ndarray, scales: Floats) -> Floats:
    whole: Floats = rounded * np.repeat(scales, len(rounded) // len(scales), axis=0)
    return whole


@pytest.mark.parametrize("group", [64, None])
def test_a_weight_is_within_half_a_step_of_its_rounding(group: int | None) -> None:
    weight = weights()
    weight[:64, 3] = 0
    rounded, scales = nearest(weight, group)
    assert scales.shape == (CHANNELS // (group or CHANNELS), COLUMNS)
    assert np.all(np.abs(held(rounded, scales) - weight) <= np.repeat(scales, group or CHANNELS, axis=0) * 0.5001)


@pytest.mark.parametrize("group", [64, None])
def test_fitted_weights_keep_products_that_they_were_not_fitted_to(group: int | None) -> None:
    """GPTQ's gain on channels that go together is several times; half the error is asked for."""
    weight, unseen = weights(), tokens(500, 4)
    errors = [
        np.square(unseen @ (held(*made) - weight)).mean()
        for made in (nearest(weight, group), fitted(weight, tokens(2000, 3), group))
    ]
    assert errors[1] < errors[0] / 2


def test_what_has_nothing_in_common_is_rounded_to_the_nearest() -> None:
    """With tokens that are the axes no channel can make up for another."""
    axes = np.eye(CHANNELS, dtype=np.float32)
    np.testing.assert_array_equal(fitted(weights(), axes, 64)[0], nearest(weights(), 64)[0])


def test_channels_that_are_never_heard_do_no_harm() -> None:
    silent = tokens(300, 5)
    silent[:, ::3] = 0
    for given in (silent, np.zeros_like(silent)):
        rounded, scales = fitted(weights(), given, None)
        assert np.isfinite(scales).all()
        assert np.abs(held(rounded, scales) - weights())[::3].max() <= scales.max()


def test_levelled_channels_fill_one_scale_and_stay_within() -> None:
    given = tokens(1000, 6) + np.linspace(-50, 50, CHANNELS, dtype=np.float32)
    given[:, 7] *= 512
    given[:, 8] = 3
    lowest, highest = given.min(axis=0), given.max(axis=0)
    middle, reach = level(lowest, highest, weights())
    levels = (given - middle) / reach
    assert np.abs(levels).max() == pytest.approx(1 / 1.1, rel=1e-5), "room for texts that reach farther"
    loudest = np.abs(levels).max(axis=0)
    assert np.median(loudest) > 0.4, "the loud channel does not take the scale from the others"
    np.testing.assert_allclose(levels.max(axis=0), -levels.min(axis=0), atol=1e-3)
