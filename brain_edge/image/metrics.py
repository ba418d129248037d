"""How far two label maps agree: Dice, which a run asks for. What a cohort is scored by is in `evaluation.scores`.

Everything here is pure. The Dice of two empty masks is not defined: None, never a number that a mean would swallow.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from brain_edge.errors import GeometryError

BoolArray: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
IntegerArray: TypeAlias = np.ndarray[Any, np.dtype[np.integer[Any]]]


def dice(a: BoolArray, b: BoolArray) -> float | None:
    """Dice coefficient 2 |A and B| / (|A| + |B|) of two masks; None where both are empty.

    Raises:
        GeometryError: the masks have different shapes.
    """
    require_comparable(a, b)
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2 * int(np.count_nonzero(a & b)) / total if total else None


def least_dice(a: IntegerArray, b: IntegerArray) -> float:
    """Dice of the label on which two label maps agree least; 1 where both hold nothing but background."""
    present = np.union1d(np.unique(a), np.unique(b))
    scores = [dice(a == label, b == label) for label in present if label != 0]
    return min((score for score in scores if score is not None), default=1.0)


def require_comparable(a: BoolArray, b: BoolArray) -> None:
    """Make sure that two arrays are masks of one shape.

    Raises:
        GeometryError: they have different shapes.
        TypeError: one of them is no mask.
    """
    # numpy would broadcast a mask of another shape and combine labels bit by bit, both without a word
    if a.shape != b.shape:
        raise GeometryError(f"expected masks on one grid, got the shapes {a.shape} and {b.shape}; regrid one")
    if a.dtype != np.bool_ or b.dtype != np.bool_:
        raise TypeError(f"expected boolean masks, got {a.dtype} and {b.dtype}; compare with one label first")
