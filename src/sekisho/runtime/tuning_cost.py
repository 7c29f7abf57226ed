"""What a batch costs on one lane, as three numbers fitted to what was measured; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress, product

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]

#: Fewer samples are met exactly by three terms, whatever noise is in them.
_LEAST_FOR_THREE = 5


@dataclass(frozen=True)
class Sample:
    """A batch that was run: `rows` texts of `length` tokens each took `seconds`."""

    rows: int
    length: int
    seconds: float


@dataclass(frozen=True)
class Cost:
    """seconds ≈ fixed + per_token × rows × length + per_square × rows × length²; each in seconds, none negative.

    The first is what starting a batch takes, the second the linear layers, the third attention.
    error: how far the samples lie from that in the median, as a share of each.
    """

    fixed: float
    per_token: float
    per_square: float
    error: float

    @property
    def fixed_tokens(self) -> float:
        """What starting a batch costs, in tokens."""
        return self.fixed / self.per_token

    def seconds(self, rows: int, length: int) -> float:
        """What a batch of that padded shape takes."""
        return self.fixed + rows * length * (self.per_token + self.per_square * length)


def fit(samples: Sequence[Sample]) -> Cost:
    """The least sum of squared relative errors under which no term is negative.

    With three terms that is found by trying every choice of terms: the best one whose plain least-squares solution is
    positive throughout is the constrained solution. Terms that the samples cannot tell apart are left out.

    Raises ValueError without a sample.
    """
    if not samples:
        raise ValueError("there is no cost to fit without a sample")
    measured = np.array([sample.seconds for sample in samples])
    tokens = np.array([sample.rows * sample.length for sample in samples], float)
    lengths = np.array([sample.length for sample in samples], float)
    # Divided by what was measured, so that a short batch weighs as much as a long one.
    terms = np.stack([np.ones_like(tokens), tokens, tokens * lengths], axis=1) / measured[:, None]
    most = 3 if len(samples) >= _LEAST_FOR_THREE else min(2, len(samples))
    choices = [taken for taken in product((True, False), repeat=3) if taken[1] and sum(taken) <= most]
    solutions = [_solution(terms, taken) for taken in choices]
    best = min((each for each in solutions if each is not None), key=lambda each: _loss(terms, each))
    fixed, per_token, per_square = map(float, best)
    return Cost(fixed, per_token, per_square, float(np.median(np.abs(terms @ best - 1))))


def _solution(terms: _Floats, taken: tuple[bool, ...]) -> _Floats | None:
    """All three factors, zero for the terms not taken; None where one is not positive or nothing decides it."""
    columns = list(compress(range(len(taken)), taken))
    # Their sizes are far apart, and whether they can be told apart is judged by size.
    scale = np.linalg.norm(terms[:, columns], axis=0)
    found, _, rank, _ = np.linalg.lstsq(terms[:, columns] / scale, np.ones(len(terms)))
    if rank < len(columns) or not (found > 0).all():
        return None
    factors = np.zeros(len(taken))
    factors[columns] = found / scale
    return factors


def _loss(terms: _Floats, factors: _Floats) -> float:
    return float(np.square(terms @ factors - 1).sum())
