"""Weights of spline interpolation along one axis, as `scipy.ndimage.zoom` computes them.

They are computed here because to import `scipy.ndimage` takes longer than to resample a head. The tests compare them
with SciPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.image.volume import FloatArray

REPEATED: Final = 12
"""Samples by which SciPy repeats both ends before it looks for the coefficients of a cubic spline."""


def linear_weights(source: int, target: int) -> FloatArray:
    """Return weights (target, source) float32 of linear interpolation between samples; the ends are repeated."""
    first, beyond = _positions(source, target)
    return _spread(source, first, (1 - beyond, beyond)).astype(np.float32)


def cubic_weights(source: int, target: int) -> FloatArray:
    """Return weights (target, source) float32 of the cubic B-spline through the samples; the ends are repeated.

    A spline has one coefficient per sample. The coefficients solve a linear system, whose right sides are the samples.
    """
    first, beyond = _positions(source, target)
    before = 1 - beyond
    basis = (before**3, 4 - 6 * beyond**2 + 3 * beyond**3, 4 - 6 * before**2 + 3 * before**3, beyond**3)
    length = source + 2 * REPEATED
    of_coefficients = _spread(length, first + REPEATED - 1, [each / 6 for each in basis])
    at_samples = _spread(length, np.arange(length) - 1, [np.full(length, each / 6) for each in (1, 4, 1)])
    samples = _spread(source, np.arange(length) - REPEATED, [np.ones(length)])
    return (of_coefficients @ np.linalg.solve(at_samples, samples)).astype(np.float32)


def _positions(source: int, target: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the sample before each target cell's centre, and the distance from it in samples; cell edges aligned."""
    centres = (np.arange(target) + 0.5) * (source / target) - 0.5
    first = np.floor(centres)
    return first.astype(np.intp), centres - first


def _spread(
    columns: int, first: np.ndarray[Any, Any], weights: Sequence[np.ndarray[Any, Any]]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a matrix whose row i has the weights of i from column `first[i]` on; columns beyond an end are the end."""
    matrix = np.zeros((len(first), columns))
    for offset, weight in enumerate(weights):
        np.add.at(matrix, (np.arange(len(first)), np.clip(first + offset, 0, columns - 1)), weight)
    return matrix
