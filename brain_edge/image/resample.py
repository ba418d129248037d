"""Separable resampling of a regular grid: one small matrix per axis, applied by matrix product.

A grid resized over the same field of view needs the same weights in every row. Interpolation is therefore three
matrix products instead of a spline evaluated at every voxel. The weights are those of `scipy.ndimage.zoom`
(`mode="nearest"`, `grid_mode=True`). The result equals `skimage.transform.resize(mode="edge", anti_aliasing=False,
clip=False)` to float32 rounding; see `docs/decisions/0003-separable-resampling.md`.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge.image.splines import cubic_weights, linear_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from brain_edge.image.volume import FloatArray


class Interpolation(StrEnum):
    """Method that finds a value between voxel centres."""

    NEAREST = "nearest"
    """Value of the voxel that contains the point (`torch`'s "nearest-exact"): for labels, and networks trained so."""
    LINEAR = "linear"
    """Linear between the two neighbours along each axis: for probabilities and smooth images."""
    CUBIC = "cubic"
    """Third-order B-spline through the samples: for intensities, as most published programs resample them."""


SPLINES: Final[Mapping[Interpolation, Callable[[int, int], FloatArray]]] = {
    Interpolation.LINEAR: linear_weights,
    Interpolation.CUBIC: cubic_weights,
}


def resize(
    voxels: np.ndarray[Any, np.dtype[Any]], shape: Sequence[int], interpolation: Interpolation
) -> np.ndarray[Any, np.dtype[Any]]:
    """Resample (C, I, J, K) voxels to (C, *shape) over the same field of view, voxel edges aligned.

    Nearest keeps the data type; linear and cubic return float32. The axes that shrink most are resized first, so that
    later products work on less data.
    """
    if voxels.shape[1:] == tuple(shape):
        return voxels
    if interpolation is Interpolation.NEAREST:
        return _nearest(voxels, shape)
    growth = [wanted / side for wanted, side in zip(shape, voxels.shape[1:], strict=True)]
    for axis in sorted(range(3), key=lambda axis: (growth[axis], -axis)):
        if voxels.shape[axis + 1] != shape[axis]:
            voxels = _resize_axis(voxels, axis + 1, shape[axis], interpolation)
    return voxels


def nearest_indices(source: int, target: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return, for each of `target` cells, the index of the source cell that contains its centre.

    The arithmetic is torch's (`area_pixel_compute_source_index`: float32, multiplied and subtracted in one rounding).
    A centre on the border of two cells must fall on the same side as in training.
    """
    scale = np.float64(np.float32(source) / np.float32(target))
    centres = ((np.arange(target) + 0.5) * scale - 0.5).astype(np.float32) + np.float32(0.5)
    return np.minimum(centres.astype(np.intp), source - 1)


@lru_cache(maxsize=32)
def axis_weights(source: int, target: int, interpolation: Interpolation) -> FloatArray:
    """Return interpolation weights (target, source) float32 along one axis; every row sums to one."""
    weights = SPLINES[interpolation](source, target)
    weights.setflags(write=False)
    return weights


def _resize_axis(
    voxels: np.ndarray[Any, np.dtype[Any]], axis: int, target: int, interpolation: Interpolation
) -> np.ndarray[Any, np.dtype[Any]]:
    source = voxels.shape[axis]
    weights = axis_weights(source, target, interpolation)
    shape = (*voxels.shape[:axis], target, *voxels.shape[axis + 1 :])
    rows = np.ascontiguousarray(voxels, dtype=np.float32)
    if axis == voxels.ndim - 1:
        return np.asarray((rows.reshape(-1, source) @ weights.T).reshape(shape))
    products = np.matmul(weights, rows.reshape(-1, source, int(np.prod(shape[axis + 1 :]))))
    return np.asarray(products.reshape(shape))


def _nearest(voxels: np.ndarray[Any, np.dtype[Any]], shape: Sequence[int]) -> np.ndarray[Any, np.dtype[Any]]:
    """Gather one plane (J, K) after the other in the caches, and copy it to every place that repeats it."""
    planes, *sides = (nearest_indices(source, target) for source, target in zip(voxels.shape[1:], shape, strict=True))
    smaller_first = sorted((0, 1), key=lambda axis: shape[axis + 1] / voxels.shape[axis + 2])
    starts = np.flatnonzero(np.diff(planes, prepend=-1))
    found = np.empty((len(voxels), *shape), voxels.dtype)
    for channel, filled in zip(voxels, found, strict=True):
        for start, end in zip(starts, (*starts[1:], len(planes)), strict=True):
            plane = channel[planes[start]]
            for axis in smaller_first:
                plane = np.take(plane, sides[axis], axis=axis)
            filled[start:end] = plane
    return found
