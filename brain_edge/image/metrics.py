"""Agreement of two label maps: Dice, which a run needs. `evaluation.scores` holds the scores of a cohort.

All functions are pure. The Dice of two empty masks is undefined and returned as None, so that no mean includes it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from brain_edge.errors import GeometryError

BoolArray: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
IntegerArray: TypeAlias = np.ndarray[Any, np.dtype[np.integer[Any]]]


def dice(a: BoolArray, b: BoolArray) -> float | None:
    """Return the Dice coefficient 2 |A and B| / (|A| + |B|) of two masks; None if both are empty.

    Raises:
        GeometryError: the masks have different shapes.
    """
    require_comparable(a, b)
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2 * int(np.count_nonzero(a & b)) / total if total else None


def least_dice(a: IntegerArray, b: IntegerArray) -> float:
    """Return the lowest Dice over the labels of two label maps; 1 if both hold only background."""
    present = np.union1d(np.unique(a), np.unique(b))
    scores = [dice(a == label, b == label) for label in present if label != 0]
    return min((score for score in scores if score is not None), default=1.0)


def require_comparable(a: BoolArray, b: BoolArray) -> None:
    """Make sure that two arrays are masks of the same shape.

    Raises:
        GeometryError: the shapes differ.
        TypeError: an array is not boolean.
    """
    # numpy would silently broadcast a mask of another shape and combine labels bit by bit
    if a.shape != b.shape:
        raise GeometryError(f"expected masks on one grid, got the shapes {a.shape} and {b.shape}; regrid one mask")
    if a.dtype != np.bool_ or b.dtype != np.bool_:
        raise TypeError(f"expected boolean masks, got {a.dtype} and {b.dtype}; compare each map with one label first")
