"""Statistics over process starts: a mean, its interval, and the range for the mean of another repetition. Pure.

The unit of sampling is the start. Passes in one process share its memory, its threads and its minute. They do not
predict the next process, which may be a third slower.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL: Final = 0.95
MINIMUM_STARTS: Final = 5
"""Minimum number of starts for an interval of the mean, and of repetitions for using them as units."""


class Change(StrEnum):
    """Change from one estimate to another."""

    LOWER = "lower"
    HIGHER = "higher"
    NOISE = "noise"
    UNKNOWN = "too few starts"


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Interval."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.2f} to {self.high:.2f}"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimate of a positive figure over process starts.

    Attributes:
        value: geometric mean, so that the mean of ratios is the ratio of means.
        interval: 95 % interval of the mean; None for fewer than five starts.
        repetition: 95 % range for the mean of another repetition; None for fewer than five starts.
        starts, repetitions: number of starts (over all repetitions) and of repetitions.
    """

    value: float
    interval: Bounds | None
    repetition: Bounds | None
    starts: int
    repetitions: int = 1

    def __str__(self) -> str:
        few = "1 start" if self.starts == 1 else f"{self.starts} starts"
        return f"{self.value:.2f} ({self.interval or few})"

    def change_to(self, later: Estimate) -> Change:
        """Compare with a later estimate; they differ if each mean lies outside the other's range for a repetition."""
        if self.repetition is None or later.repetition is None:
            return Change.UNKNOWN
        if later.value < self.repetition.low and self.value > later.repetition.high:
            return Change.LOWER
        if later.value > self.repetition.high and self.value < later.repetition.low:
            return Change.HIGHER
        return Change.NOISE


def estimate(*repetitions: Sequence[float], minimum: int = MINIMUM_STARTS) -> Estimate:
    """Estimate the mean of a positive figure, its interval, and the range for another repetition.

    Both use Student's t on logarithms, for k units with mean m and standard deviation s: m +- t s sqrt(1 / k), and m +-
    t s sqrt(1 + 1 / k) (a prediction interval: Hahn & Meeker, Statistical Intervals, 1991, section 4.7). With five
    repetitions or more, the units are the repetitions. With fewer, the units are the starts, and the range is that of
    one further start. The mean of a repetition's starts varies less than one start, which leaves room for differences
    between hours that the starts of one hour cannot show. `python -m benchmarks repetitions` counts how often it holds.

    Args:
        repetitions: figures of the starts of each repetition, one or more.
        minimum: minimum number of units for an interval.

    Raises:
        ValueError: there is no figure.
    """
    logs = [[math.log(value) for value in of_one] for of_one in repetitions]
    every = [value for of_one in logs for value in of_one]
    units = [statistics.fmean(of_one) for of_one in logs] if len(logs) >= minimum else every
    if not all(logs) or not units:
        raise ValueError("expected figures of process starts, got none")
    mean = statistics.fmean(units)
    known = len(units) >= minimum
    return Estimate(
        value=math.exp(mean),
        interval=_bounds(units, mean, 0.0) if known else None,
        repetition=_bounds(units, mean, 1.0) if known else None,
        starts=len(every),
        repetitions=len(logs),
    )


def _bounds(units: Sequence[float], mean: float, of_another: float) -> Bounds:
    """Return the interval of the mean of the units, widened by `of_another` variances of a unit (0 or 1)."""
    from scipy.special import stdtrit

    count = len(units)
    quantile = float(stdtrit(count - 1, (1 + LEVEL) / 2))
    half = quantile * statistics.stdev(units) * math.sqrt(of_another + 1 / count)
    return Bounds(low=math.exp(mean - half), high=math.exp(mean + half))
