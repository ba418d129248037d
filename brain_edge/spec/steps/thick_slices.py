"""Resampling that does not mix thick slices, as nnU-Net does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.image.resample import Interpolation, resize
from brain_edge.spec.steps.grid import Spacing, require_spacing, sides_at
from brain_edge.spec.steps.moves import Move, Resized
from brain_edge.spec.steps.step import GridStep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.image.geometry import Geometry, Shape
    from brain_edge.spec.steps.frame import Array, Frame

THICK: Final = 3.0
"""Ratio of the coarsest to the finest spacing above which slices are thick (nnU-Net, `ANISO_THRESHOLD`)."""


class ResampleThickSlices(GridStep, frozen=True):
    """Resample to a target spacing: round(extent / spacing) voxels over the same field of view, cubic.

    If one axis is more than three times coarser than the finest, before or else after resampling, each slice across it
    is resampled separately, and the nearest slice is taken along it. The way back applies the same rule from the other
    side. Results are limited to the range of the source channel or slice (nnU-Net v2, `resample_data_or_seg_to_shape`
    with order 3, `order_z` 0 and `force_separate_z` null).
    """

    spacing_mm: tuple[Spacing, Spacing, Spacing]

    def __post_init__(self) -> None:
        require_spacing(self.spacing_mm)

    def apply(self, frame: Frame) -> Frame:
        """Resample every channel."""
        before = frame.geometry
        shape = sides_at(before, self.spacing_mm)
        # likewise for spacings, which are compared for equality
        native = tuple(round(float(side), 5) for side in before.spacing_mm)
        voxels = resized_in_range(frame.voxels, shape, thick_axis(native, self.spacing_mm))
        back = thick_axis(self.spacing_mm, native)
        move: Move = Resized(before) if back is None else SlicesResized(before, back)
        return frame.moved(voxels, before.resized(shape), move)

    def grid_after(self, before: Geometry) -> Geometry:
        """Return the grid of the spacing."""
        return before.resized(sides_at(before, self.spacing_mm))


@dataclass(frozen=True, eq=False)
class SlicesResized(Move):
    """Resampling whose way back does not mix the slices across an axis."""

    axis: int

    def undo(self, voxels: Array, interpolation: Interpolation) -> Array:
        """Resample each slice, then take the nearest slices."""
        return across(voxels, self.before.shape, self.axis, interpolation)


def thick_axis(spacing_mm: Sequence[float], other_mm: Sequence[float]) -> int | None:
    """Return the thick axis of the first of two grids with thick slices, across which slices stay apart, or None."""
    for spacing in (spacing_mm, other_mm):
        if max(spacing) / min(spacing) > THICK:
            coarsest = [axis for axis, side in enumerate(spacing) if side == max(spacing)]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


def resized_in_range(voxels: Array, shape: Shape, axis: int | None) -> Array:
    """Resample (C, I, J, K) by cubic splines, within the range of each channel, or of each slice across `axis`."""
    if voxels.shape[1:] == shape:
        return voxels
    if axis is None:
        return _within(resize(voxels, shape, Interpolation.CUBIC), voxels, (1, 2, 3))
    return across(voxels, shape, axis, Interpolation.CUBIC)


def across(voxels: Array, shape: Shape, axis: int, interpolation: Interpolation) -> Array:
    """Resample each slice of (C, I, J, K) across `axis` separately, and take the nearest slices along it."""
    if interpolation is Interpolation.NEAREST:
        return resize(voxels, shape, interpolation)
    plane = list(shape)
    plane[axis] = voxels.shape[axis + 1]
    slices = resize(voxels, plane, interpolation)
    if interpolation is Interpolation.CUBIC and slices is not voxels:
        slices = _within(slices, voxels, tuple(other + 1 for other in range(3) if other != axis))
    return np.take(slices, _nearest(voxels.shape[axis + 1], shape[axis]), axis=axis + 1)


def _within(resampled: Array, voxels: Array, axes: tuple[int, ...]) -> Array:
    low, high = voxels.min(axis=axes, keepdims=True), voxels.max(axis=axes, keepdims=True)
    return np.clip(resampled, low, high, out=resampled)


def _nearest(source: int, target: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return the slices that `scipy.ndimage.map_coordinates` of order 0 takes: halves are rounded up."""
    centres = source / target * (np.arange(target) + 0.5) - 0.5
    return np.asarray(np.clip(np.floor(centres + 0.5), 0, source - 1), dtype=np.intp)
