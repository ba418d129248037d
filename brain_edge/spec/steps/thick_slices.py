"""Resampling that does not mix thick slices: nnU-Net's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.image.resample import Interpolation, resize
from brain_edge.spec.steps.grid import Spacing, sides_at
from brain_edge.spec.steps.moves import Move, Resized
from brain_edge.spec.steps.step import GridStep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.image.geometry import Shape
    from brain_edge.spec.steps.frame import Array, Frame

THICK: Final = 3.0
"""A spacing this much coarser than the finest one is that of thick slices (nnU-Net, `ANISO_THRESHOLD`)."""


class ResampleThickSlices(GridStep, frozen=True):
    """Resample to a target spacing: round(extent / spacing) voxels over the same field of view, cubic.

    Where one axis is more than three times coarser than the finest one, before or else after, the slices across it are
    resampled each by itself, and along it the nearest slice is taken; the way back decides in the same way, the other
    way round. No value leaves the range of what it was made from, the channel or the slice (nnU-Net v2,
    `resample_data_or_seg_to_shape` with order 3, `order_z` 0 and `force_separate_z` null).
    """

    spacing_mm: tuple[Spacing, Spacing, Spacing]

    def apply(self, frame: Frame) -> Frame:
        """Resample every channel."""
        before = frame.geometry
        shape = sides_at(before, self.spacing_mm)
        # the same for spacings, of which it is asked whether two are the same
        native = tuple(round(float(side), 5) for side in before.spacing_mm)
        voxels = resized_in_range(frame.voxels, shape, thick_axis(native, self.spacing_mm))
        back = thick_axis(self.spacing_mm, native)
        move: Move = Resized(before) if back is None else SlicesResized(before, back)
        return frame.moved(voxels, before.resized(shape), move)


@dataclass(frozen=True, eq=False)
class SlicesResized(Move):
    """Resampled such that the way back does not mix the slices across an axis."""

    axis: int

    def undo(self, voxels: Array, interpolation: Interpolation) -> Array:
        """Resample each slice, then take the nearest ones."""
        return across(voxels, self.before.shape, self.axis, interpolation)


def thick_axis(spacing_mm: Sequence[float], other_mm: Sequence[float]) -> int | None:
    """The axis across which slices stay apart, of the first of two grids that has thick slices; None where none has."""
    for spacing in (spacing_mm, other_mm):
        if max(spacing) / min(spacing) > THICK:
            coarsest = [axis for axis, side in enumerate(spacing) if side == max(spacing)]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


def resized_in_range(voxels: Array, shape: Shape, axis: int | None) -> Array:
    """(C, I, J, K) resampled by cubic splines, within the range of each channel, or of each slice across `axis`."""
    if voxels.shape[1:] == shape:
        return voxels
    if axis is None:
        return _within(resize(voxels, shape, Interpolation.CUBIC), voxels, (1, 2, 3))
    return across(voxels, shape, axis, Interpolation.CUBIC)


def across(voxels: Array, shape: Shape, axis: int, interpolation: Interpolation) -> Array:
    """(C, I, J, K) with each slice across `axis` resampled by itself, and the nearest slices taken along it."""
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
    """The slices that `scipy.ndimage.map_coordinates` of order 0 takes: halves go up."""
    centres = source / target * (np.arange(target) + 0.5) - 0.5
    return np.asarray(np.clip(np.floor(centres + 0.5), 0, source - 1), dtype=np.intp)
