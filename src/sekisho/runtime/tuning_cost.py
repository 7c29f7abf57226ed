"""What a batch costs on one lane, as a few numbers fitted to what was measured; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress, product

import numpy as np
from numpy.typing import NDArray

from sekisho.arrays import tokens_run

_Floats = NDArray[np.float64]

#: Fewer samples are met exactly by all terms, whatever noise is in them.
_LEAST_FOR_ALL = 6


@dataclass(frozen=True)
class Size:
    """What decides how long a batch takes: the tokens that are computed on, its places (rows × longest), its longest.

    Where a graph is padded the first two are the same.
    """

    tokens: int
    places: int
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[int], *, packed: bool) -> Size:
        """Of a batch of texts of these lengths."""
        longest = max(1, *lengths)
        return cls(tokens_run(lengths, packed=packed), len(lengths) * longest, longest)


@dataclass(frozen=True)
class Sample:
    """A batch that was run."""

    size: Size
    seconds: float


@dataclass(frozen=True)
class Cost:
    """seconds ≈ fixed + per_token × tokens + per_place × places + per_square × places × longest, none negative.

    The first is what starting a batch takes, the second the linear layers, the others attention.
    error: how far the samples lie from that in the median, as a share of each.
    """

    fixed: float
    per_token: float
    per_place: float
    per_square: float
    error: float

    def seconds(self, size: Size) -> float:
        """What such a batch takes."""
        attention = size.places * (self.per_place + self.per_square * size.longest)
        return self.fixed + size.tokens * self.per_token + attention


def fit(samples: Sequence[Sample]) -> Cost:
    """The least sum of squared relative errors under which no term is negative.

    With so few terms that is found by trying every choice of them: the best one whose plain least-squares solution is
    positive throughout is the constrained solution. Terms that the samples cannot tell apart are left out.

    Raises ValueError without a sample.
    """
    if not samples:
        raise ValueError("there is no cost to fit without a sample")
    measured = np.array([sample.seconds for sample in samples])
    sizes = [sample.size for sample in samples]
    sums = [(1, size.tokens, size.places, size.places * size.longest) for size in sizes]
    # Divided by what was measured, so that a short batch weighs as much as a long one.
    terms = np.array(sums, float) / measured[:, None]
    most = len(sums[0]) if len(samples) >= _LEAST_FOR_ALL else min(2, len(samples))
    choices = [taken for taken in product((True, False), repeat=len(sums[0])) if taken[1] and sum(taken) <= most]
    solutions = [_solution(terms, taken) for taken in choices]
    best = min((each for each in solutions if each is not None), key=lambda each: _loss(terms, each))
    fixed, per_token, per_place, per_square = map(float, best)
    return Cost(fixed, per_token, per_place, per_square, float(np.median(np.abs(terms @ best - 1))))


def _solution(terms: _Floats, taken: tuple[bool, ...]) -> _Floats | None:
    """All factors, zero for the terms not taken; None where one is not positive or nothing decides it."""
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
