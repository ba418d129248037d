"""What starts of a process say: a mean, its interval, and where the mean of another repetition will lie. Pure.

What is resampled is the start. Passes in one process share its memory, its threads and its minute, and tell nothing of
the next process, which may be a third slower.
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
"""Of a process, before a mean has an interval; and repetitions, before they are units of their own."""


class Change(StrEnum):
    """From one estimate to another."""

    LOWER = "lower"
    HIGHER = "higher"
    NOISE = "noise"
    UNKNOWN = "too few starts"


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """An interval."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.2f} to {self.high:.2f}"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A positive figure over process starts.

    Attributes:
        value: geometric mean, so that the mean of ratios is the ratio of means.
        interval: of that mean, at the level of 95 %; None for fewer than five starts.
        repetition: where the mean of another repetition lies, at the same level; None as the interval.
        starts, repetitions: it is of; the starts of all repetitions together.
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
        """Whether a later one is another: each lies outside of where the other says that a repetition lies."""
        if self.repetition is None or later.repetition is None:
            return Change.UNKNOWN
        if later.value < self.repetition.low and self.value > later.repetition.high:
            return Change.LOWER
        if later.value > self.repetition.high and self.value < later.repetition.low:
            return Change.HIGHER
        return Change.NOISE


def estimate(*repetitions: Sequence[float], minimum: int = MINIMUM_STARTS) -> Estimate:
    """The mean of a positive figure, its interval, and the range for another repetition.

    Both are Student's, on logarithms: m +- t s sqrt(1 / k), and m +- t s sqrt(1 + 1 / k) (a prediction interval: Hahn &
    Meeker, Statistical Intervals, 1991, section 4.7), of k units with mean m and standard deviation s. Units are the
    repetitions where there are five; before that the starts, and then the range is that of one further start. The mean
    of a repetition's starts is steadier than one start, which leaves room for what differs from hour to hour and what
    the starts of one hour cannot show. `python -m benchmarks repetitions` counts how often it holds.

    Args:
        repetitions: of each the figure of its starts, one or more.
        minimum: units without which there is no interval.

    Raises:
        ValueError: there are none.
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
    """Of the mean of the units, and of as much of another unit."""
    from scipy.special import stdtrit

    count = len(units)
    quantile = float(stdtrit(count - 1, (1 + LEVEL) / 2))
    half = quantile * statistics.stdev(units) * math.sqrt(of_another + 1 / count)
    return Bounds(low=math.exp(mean - half), high=math.exp(mean + half))
