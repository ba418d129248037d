"""Division of a batch into shards of equal work."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Work:
    """Time of a case as a line over the size of its images.

    Attributes:
        fixed_s: time of any case, in seconds.
        per_byte_s: time in addition for each byte of its images, in seconds.
    """

    fixed_s: float
    per_byte_s: float

    def seconds(self, size_bytes: int) -> float:
        """Return the time of a case, in seconds."""
        return self.fixed_s + self.per_byte_s * size_bytes


def fitted(samples: Sequence[tuple[int, float]]) -> Work:
    """Fit the time of a case to measured cases by least squares; neither part of the line is negative.

    Args:
        samples: size of the images in bytes and time in seconds, per case; at least one.
    """
    sizes, seconds = np.array([size for size, _ in samples], dtype=float), np.array([taken for _, taken in samples])
    spread = sizes - sizes.mean()
    slope = float(spread @ seconds / (spread @ spread)) if spread.any() else 0.0
    intercept = float(seconds.mean() - slope * sizes.mean())
    if slope <= 0:  # larger images were not slower
        return Work(float(seconds.mean()), 0.0)
    if intercept < 0:  # a line through zero
        return Work(0.0, float(sizes @ seconds / (sizes @ sizes)))
    return Work(intercept, slope)


def divided(work_s: Sequence[float], count: int) -> tuple[int, ...]:
    """Return the shard of each case, counted from 1; the largest case first goes to the shard with the least work.

    The rule is Graham's longest processing time first: no shard has more than 4/3 of the smallest possible maximum.

    Args:
        work_s: time of each case, in seconds.
        count: number of shards.

    Raises:
        UsageError: there are fewer cases than shards, or no shard.
    """
    if not 1 <= count <= len(work_s):
        raise UsageError(f"expected 1 to {len(work_s)} shards for {len(work_s)} case(s), got {count}")
    shards = [(0.0, number) for number in range(1, count + 1)]
    place = [0] * len(work_s)
    for case in sorted(range(len(work_s)), key=lambda case: (-work_s[case], case)):
        load, number = heapq.heappop(shards)
        place[case] = number
        heapq.heappush(shards, (load + work_s[case], number))
    return tuple(place)
