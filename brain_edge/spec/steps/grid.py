"""Steps that move the voxels to another grid; each records its own way back."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
import numpy as np

from brain_edge.errors import ImplausibleError, PackageError
from brain_edge.image.geometry import GRID_TOLERANCE_MM, SPACINGS_MM, Box, Shape, axis_moves, is_orientation
from brain_edge.image.resample import Interpolation, resize
from brain_edge.spec.steps.moves import Boxed, Reordered, Resized, reorder, take_box
from brain_edge.spec.steps.step import GridStep, Saving, StageName, Step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brain_edge.image.geometry import AxisMoves, Geometry
    from brain_edge.spec.steps.frame import Frame

Side = Annotated[int, msgspec.Meta(ge=1, le=4096)]
Axis = Annotated[int, msgspec.Meta(ge=0, le=2)]
Spacing = Annotated[float, msgspec.Meta(ge=SPACINGS_MM[0], le=SPACINGS_MM[1])]


class Placement(StrEnum):
    """Position of the image in a larger grid."""

    START = "start"
    """At the first voxel; padding is at the end of each axis (HD-BET v1)."""
    CENTRE = "centre"
    """In the middle; an odd voxel of padding is at the end (FreeSurfer's conform)."""
    END = "end"
    """At the last voxel; padding and cuts are at the start of each axis."""


class Orient(GridStep, frozen=True):
    """Store the axes in a given anatomical order, such as RAS, or SPL for a z-y-x array of an LPS image."""

    axes: str

    def __post_init__(self) -> None:
        if not is_orientation(self.axes):
            msg = f"expected `axes` that name each anatomical axis once, such as RAS or SPL, got {self.axes!r}"
            raise ValueError(msg)

    def apply(self, frame: Frame) -> Frame:
        """Permute and flip axes as a view, without copying voxels."""
        return reordered(frame, axis_moves(frame.geometry.orientation, self.axes))

    def grid_after(self, before: Geometry) -> Geometry:
        """Return the same voxels in the other order."""
        return before.reoriented(axis_moves(before.orientation, self.axes))


class TransposeAxes(GridStep, frozen=True):
    """Put the stored axes into another order: new axis n is the former axis `axes[n]`; no axis is flipped.

    This is for programs that ignore the orientation: nnU-Net reads a NIfTI as stored, last axis first, (2, 1, 0).
    Such a network is correct only for images that are stored like its training images. Use `orient` if that order is
    known.
    """

    axes: tuple[Axis, Axis, Axis]

    def __post_init__(self) -> None:
        if sorted(self.axes) != [0, 1, 2]:
            msg = f"expected `axes` that name each of 0, 1 and 2 once, got {list(self.axes)}"
            raise ValueError(msg)

    def apply(self, frame: Frame) -> Frame:
        """Permute axes as a view, without copying voxels."""
        return reordered(frame, self._moves)

    def grid_after(self, before: Geometry) -> Geometry:
        """Return the same voxels in the other order."""
        return before.reoriented(self._moves)

    @property
    def _moves(self) -> AxisMoves:
        first, second, third = ((axis, False) for axis in self.axes)
        return first, second, third


class ResampleToSpacing(GridStep, frozen=True):
    """Resample to a target spacing: round(extent / spacing) voxels over the same field of view.

    The true spacing is the extent divided by that whole number of voxels. It differs from the target by at most half a
    voxel over the whole extent, and the way back is exact.
    """

    spacing_mm: tuple[Spacing, Spacing, Spacing]
    interpolation: Interpolation

    def __post_init__(self) -> None:
        require_spacing(self.spacing_mm)

    def apply(self, frame: Frame) -> Frame:
        """Resample every channel."""
        return resized(frame, sides_at(frame.geometry, self.spacing_mm), self.interpolation)

    def grid_after(self, before: Geometry) -> Geometry:
        """Return the grid of the spacing."""
        return before.resized(sides_at(before, self.spacing_mm))


class ResizeTo(GridStep, frozen=True):
    """Resample to a fixed number of voxels over the same field of view, with any resulting spacing."""

    shape: tuple[Side, Side, Side]
    interpolation: Interpolation

    def apply(self, frame: Frame) -> Frame:
        """Resample every channel."""
        return resized(frame, self.shape, self.interpolation)

    @property
    def copies_to(self) -> Shape | None:
        """Sides of the grid if nearest neighbours are taken."""
        return self.shape if self.interpolation is Interpolation.NEAREST else None

    def grid_after(self, before: Geometry) -> Geometry:
        """Return the grid of the fixed sides."""
        return before.resized(self.shape)

    def sides_after(self, before: Shape | None) -> Shape:  # noqa: ARG002 - whatever they were
        """Return the fixed sides."""
        return self.shape


class PadToMultiple(GridStep, frozen=True):
    """Pad with a value until each side is a multiple of a number and at least a minimum; never cuts."""

    only_pads: ClassVar[bool] = True

    multiple_of: Side
    minimum: tuple[Side, Side, Side] = (1, 1, 1)
    placement: Placement = Placement.START
    value: float = 0.0

    def apply(self, frame: Frame) -> Frame:
        """Pad every channel."""
        return boxed(frame, self._box(frame.geometry.shape), self.value)

    def grid_after(self, before: Geometry) -> Geometry:
        """Return the padded grid."""
        return before.cropped(self._box(before.shape))

    def _box(self, shape: Shape) -> Box:
        step = self.multiple_of
        wanted = tuple(-(-max(side, least) // step) * step for side, least in zip(shape, self.minimum, strict=True))
        return placed_box(shape, wanted, self.placement)

    def cheaper(self) -> Mapping[Saving, Step]:
        """Return padding without the minimum, if the minimum adds more than the multiple."""
        if all(least <= self.multiple_of for least in self.minimum):
            return {}
        return {Saving.PADDING: msgspec.structs.replace(self, minimum=(1, 1, 1))}


class CropOrPadTo(GridStep, frozen=True):
    """Cut or pad each axis to a fixed number of voxels."""

    shape: tuple[Side, Side, Side]
    placement: Placement = Placement.CENTRE
    value: float = 0.0

    def apply(self, frame: Frame) -> Frame:
        """Cut or pad every channel."""
        return boxed(frame, placed_box(frame.geometry.shape, self.shape, self.placement), self.value)

    def grid_after(self, before: Geometry) -> Geometry:
        """Return the cut or padded grid."""
        return before.cropped(placed_box(before.shape, self.shape, self.placement))

    def sides_after(self, before: Shape | None) -> Shape:  # noqa: ARG002 - whatever they were
        """Return the fixed sides."""
        return self.shape


class CropToStage(GridStep, frozen=True):
    """Cut to the box around the finding of an earlier stage, with a margin: the step that makes a cascade.

    The box spans the planes whose share of foreground exceeds `minimum_plane_share`. It is scaled to this grid, widened
    by `margin` of its own size on each side, rounded, and cut at the border (deepbet 1.0.2, `bet.py`,
    `get_bbox_with_margin`). Both grids must have the same axis order and field of view.

    Raises:
        ImplausibleError: the earlier stage found nothing to crop to.
        PackageError: the grid of the earlier stage's finding has another axis order or field of view.
    """

    follows_content: ClassVar[bool] = True
    stage_verb: ClassVar[str] = "crops to"
    takes_labels: ClassVar[bool] = True

    stage: StageName
    margin: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0
    minimum_plane_share: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.0

    def apply(self, frame: Frame) -> Frame:
        """Cut every channel."""
        found = frame.findings[self.stage]
        if np.abs(found.geometry.corners_mm() - frame.geometry.corners_mm()).max() > GRID_TOLERANCE_MM:
            msg = (
                f"expected the finding of stage {self.stage!r} with the field of view and axis order of this stage, "
                "got another grid; correct the specification of the model"
            )
            raise PackageError(msg)
        spans = [self._span(found, axis, frame.geometry.shape[axis]) for axis in range(3)]
        return boxed(frame, (spans[0], spans[1], spans[2]), 0.0)

    def _span(self, found: Frame, axis: int, side: int) -> tuple[int, int]:
        others = tuple(other for other in range(3) if other != axis)
        planes = np.flatnonzero((found.voxels[0] > 0).mean(axis=others) > self.minimum_plane_share)
        if planes.size == 0:
            msg = f"stage {self.stage!r} found nothing to crop to: no brain was found in this image"
            raise ImplausibleError(msg)
        # float32 as in deepbet: if a half is rounded, the last digit decides about a voxel
        scale = np.float32(side) / np.float32(found.voxels.shape[axis + 1])
        low, high = int(planes[0]), int(planes[-1]) + 1
        centre = np.round(scale * np.float32((low + high) / 2))
        size = np.round((np.float32(1) + np.float32(2) * np.float32(self.margin)) * (scale * np.float32(high - low)))
        return max(0, int(centre - size / 2)), min(side, int(centre + size / 2))


def require_spacing(spacing_mm: Sequence[float]) -> None:
    """Refuse a spacing outside of `SPACINGS_MM`, also in steps that are made of files of other programs."""
    low, high = SPACINGS_MM
    if not all(low <= side <= high for side in spacing_mm):
        got = " x ".join(f"{side:.4g}" for side in spacing_mm)
        raise ValueError(f"expected a spacing of {low:g} to {high:g} mm, got {got} mm")


def sides_at(geometry: Geometry, spacing_mm: Sequence[float]) -> Shape:
    """Return the sides (I, J, K) of a grid's field of view at another spacing, each at least one voxel."""
    wanted = np.array(geometry.extent_mm) / np.array(spacing_mm)
    # a float32 affine gives 8.4999995 instead of 8.5; numpy then rounds half to even, as the programs do
    i, j, k = (int(side) for side in np.maximum(np.round(np.round(wanted, 4)), 1))
    return i, j, k


def placed_box(shape: Shape, wanted: tuple[int, ...], placement: Placement) -> Box:
    """Return the box of `wanted` voxels in a grid of `shape`; its start is negative if it extends outside."""
    parts = {Placement.START: 0, Placement.CENTRE: 1, Placement.END: 2}
    starts = [-((w - s) * parts[placement] // 2) for s, w in zip(shape, wanted, strict=True)]
    spans = [(start, start + side) for start, side in zip(starts, wanted, strict=True)]
    return (spans[0], spans[1], spans[2])


def reordered(frame: Frame, moves: AxisMoves) -> Frame:
    """Return the frame with permuted and flipped axes, as a view."""
    voxels = reorder(frame.voxels, moves)
    return frame.moved(voxels, frame.geometry.reoriented(moves), Reordered(frame.geometry, moves))


def resized(frame: Frame, shape: Shape, interpolation: Interpolation) -> Frame:
    """Return the frame resampled to `shape` voxels over the same field of view."""
    voxels = resize(frame.voxels, shape, interpolation)
    return frame.moved(voxels, frame.geometry.resized(shape), Resized(frame.geometry))


def boxed(frame: Frame, box: Box, fill: float) -> Frame:
    """Return the frame cut or padded to a box."""
    voxels = take_box(frame.voxels, box, fill)
    return frame.moved(voxels, frame.geometry.cropped(box), Boxed(frame.geometry, box))
