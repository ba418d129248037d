"""Resampling from one grid onto another, through the world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from brain_edge.image.geometry import GRID_TOLERANCE_MM
from brain_edge.spec.steps.moves import take_box

if TYPE_CHECKING:
    from brain_edge.image.geometry import Affine, Box, Geometry, Shape
    from brain_edge.spec.steps.frame import Array

    BoolArray = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

EDGE_TOLERANCE: Final = 1e-3
"""Distance in voxels outside of the grid up to which a centre counts as inside: the precision of a float32 affine."""


def onto(voxels: Array, source: Geometry, target: Geometry, *, is_labels: bool) -> Array:
    """Return the voxels (C, I, J, K) of `source` on the grid `target`, 0 outside.

    Labels come from the nearest voxel, and numbers are interpolated linearly. If one grid is a box of the other,
    nothing is interpolated.
    """
    if source.same_grid(target):
        return voxels
    box = _common_box(source, target)
    if box is not None:
        return take_box(voxels, box)
    return np.stack([sampled(channel, source, target, order=0 if is_labels else 1) for channel in voxels])


def sampled(voxels: Array, source: Geometry, target: Geometry, *, order: Literal[0, 1]) -> Array:
    """Sample `source` (I, J, K) at the voxel centres of `target` by a spline of `order`, 0 outside.

    The inside ends at the edges of the outermost voxels, as in ITK. Between their centres and their edges the value is
    that of the nearest voxel.
    """
    from scipy.ndimage import affine_transform

    mapping = np.linalg.inv(source.affine) @ target.affine
    moved: np.ndarray[Any, Any] = affine_transform(
        voxels, mapping[:3, :3], mapping[:3, 3], output_shape=target.shape, order=order, mode="nearest"
    )
    moved[~_inside(mapping, target.shape, source.shape)] = 0
    return moved


def _common_box(source: Geometry, target: Geometry) -> Box | None:
    """Return the box of whole `source` voxels that equals `target`, or None if there is none."""
    mapping = np.linalg.inv(source.affine) @ target.affine
    start = np.round(mapping[:3, 3]).astype(int)
    spans = [(int(low), int(low) + side) for low, side in zip(start, target.shape, strict=True)]
    box = (spans[0], spans[1], spans[2])
    difference = np.abs(source.cropped(box).corners_mm() - target.corners_mm()).max()
    return box if difference <= GRID_TOLERANCE_MM else None


def _inside(mapping: Affine, shape: Shape, source: Shape) -> BoolArray:
    """Return True at the voxels (I, J, K) of a grid of `shape` that lie in the field of view of `source` voxels."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    inside = np.ones(shape, dtype=bool)
    for row, side in zip(mapping[:3], source, strict=True):
        place = row[0] * i + row[1] * j + row[2] * k + row[3]
        inside &= (place >= -0.5 - EDGE_TOLERANCE) & (place <= side - 0.5 + EDGE_TOLERANCE)
    return inside
