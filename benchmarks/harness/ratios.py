"""How many times: ratios of what ran in one round. Pure numbers in and out."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from brain_edge.bench.starts import Bounds, Estimate, estimate

if TYPE_CHECKING:
    from collections.abc import Sequence


def median_and_range(ratios: Sequence[float]) -> Estimate:
    """The median of ratios of one round each in one process, and their range in place of an interval."""
    spread = Bounds(low=min(ratios), high=max(ratios))
    return Estimate(value=statistics.median(ratios), interval=spread, repetition=None, starts=1)


def ratio_of_starts(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate:
    """Of the processes of each round, which ran in turn: a slow minute of the machine hits both, and cancels.

    Raises:
        ValueError: no rounds, or unequal numbers of both.
    """
    return estimate(ratios_of_rounds(numerators, denominators))


def ratios_of_rounds(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Numerator over denominator, round by round.

    Raises:
        ValueError: unequal numbers of both.
    """
    return [one / other for one, other in zip(numerators, denominators, strict=True)]
