"""Pareto front: points that no other point dominates. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def pareto_front(points: Sequence[Sequence[float]]) -> tuple[int, ...]:
    """Return the indices of the points that no other dominates, in order; equal points all stay.

    Args:
        points: figures of each point, in the same order; smaller is better.

    >>> pareto_front([(1.0, 3.0), (2.0, 2.0), (2.0, 3.0)])
    (0, 1)
    """
    return tuple(number for number, point in enumerate(points) if not any(dominates(other, point) for other in points))


def dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    """Return True if the first point is at least as good in every figure and better in one."""
    pairs = list(zip(first, second, strict=True))
    return all(one <= other for one, other in pairs) and any(one < other for one, other in pairs)
