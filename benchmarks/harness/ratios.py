"""How many times: ratios of medians over interleaved pairs, with an interval. Pure numbers in and out."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

RESAMPLES: Final = 10_000
LEVEL: Final = 0.95
SEED: Final = 20261121


@dataclass(frozen=True)
class Ratio:
    """A ratio, and the interval around it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def median_and_range(ratios: Sequence[float]) -> Ratio:
    """The median of ratios of one round each, and their range in place of an interval."""
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def ratio_of_medians(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """Median of the numerators over median of the denominators, of interleaved pairs.

    The interval is the percentile bootstrap over pairs (Efron & Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13): a pair is drawn as one, so that a slow minute of the machine, which hits both, cancels. Few pairs
    give a coarse interval; it is a statement about this machine in this hour.

    Raises:
        ValueError: no pairs, or unequal numbers of both.
    """
    if not numerators or len(numerators) != len(denominators):
        raise ValueError(f"expected pairs, got {len(numerators)} numerators and {len(denominators)} denominators")
    pairs = np.array([numerators, denominators], dtype=np.float64)
    draws = np.random.default_rng(SEED).integers(pairs.shape[1], size=(RESAMPLES, pairs.shape[1]))
    above, below = np.median(pairs[:, draws], axis=2)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(above / below, [tail, 1 - tail])
    return Ratio(statistics.median(numerators) / statistics.median(denominators), float(low), float(high))
