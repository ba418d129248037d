"""Cropping to boxes: around the foreground, around the finding of an earlier stage, and in the plane of the slices."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
import numpy as np

from brain_edge.errors import ImplausibleError, InputError
from brain_edge.image.box import bounding_box
from brain_edge.image.resample import Interpolation
from brain_edge.spec.steps.grid import Axis, Placement, Side, boxed, placed_box, resized
from brain_edge.spec.steps.intensity import Region, inside
from brain_edge.spec.steps.regrid import onto
from brain_edge.spec.steps.step import GridStep, StageName

if TYPE_CHECKING:
    from brain_edge.image.geometry import Box, Geometry, Shape
    from brain_edge.spec.steps.frame import Frame


class WhenEmpty(StrEnum):
    """Behaviour if an earlier stage has found nothing to crop to."""

    REFUSE = "refuse"
    """Refuse the image: the model was not made for a head without the finding."""
    CENTRE = "centre"
    """Crop to the middle of the image: a patient may have none (a tumour), and later stages may confirm that."""


class CropToForeground(GridStep, frozen=True):
    """Cut to the box around the voxels of a region in any channel, with a margin in voxels, not beyond the image.

    `nonzero` is the box of a skull-stripped brain (nnU-Net's crop, "remove the dark borders").

    Raises:
        InputError: the image has no such voxels.
    """

    follows_content: ClassVar[bool] = True

    region: Region = Region.NONZERO
    margin_voxels: Annotated[int, msgspec.Meta(ge=0, le=4096)] = 0

    def apply(self, frame: Frame) -> Frame:
        """Cut every channel."""
        box = bounding_box(np.logical_or.reduce([inside(channel, self.region) for channel in frame.voxels]))
        if box is None:
            raise InputError("expected an image with a foreground to crop to, found none; check the image")
        spans = [
            (max(0, low - self.margin_voxels), min(side, high + self.margin_voxels))
            for (low, high), side in zip(box, frame.geometry.shape, strict=True)
        ]
        return boxed(frame, (spans[0], spans[1], spans[2]), 0.0)


class CropAroundStage(GridStep, frozen=True):
    """Cut a box of fixed shape around the finding of an earlier stage, so that the network's shape is fixed.

    The middle of the box is the middle of the finding's bounding box. The box is moved back if it would leave the
    image, and filled with 0 along shorter axes of the image (residual U-Net with localisation, BraTS 2021: 128^3 around
    the whole tumour; its paper does not state the position at the border).

    Raises:
        ImplausibleError: the earlier stage has found nothing, and `when_empty` is `refuse`.
    """

    follows_content: ClassVar[bool] = True
    stage_verb: ClassVar[str] = "crops to"
    takes_labels: ClassVar[bool] = True

    stage: StageName
    shape: tuple[Side, Side, Side]
    when_empty: WhenEmpty = WhenEmpty.REFUSE

    def apply(self, frame: Frame) -> Frame:
        """Cut every channel."""
        found = frame.findings[self.stage]
        labels = onto(found.voxels[:1], found.geometry, frame.geometry, is_labels=True)
        box = bounding_box(labels[0] > 0)
        if box is None and self.when_empty is WhenEmpty.REFUSE:
            raise ImplausibleError(f"stage {self.stage!r} found nothing to crop to in this image; check the image")
        sides = frame.geometry.shape
        middle = placed_box(sides, self.shape, Placement.CENTRE)
        if box is None:
            return boxed(frame, middle, 0.0)
        i, j, k = (
            min(max(0, (low + high - want) // 2), side - want) if want <= side else start
            for (low, high), want, side, (start, _) in zip(box, self.shape, sides, middle, strict=True)
        )
        p, q, r = self.shape
        return boxed(frame, ((i, i + p), (j, j + q), (k, k + r)), 0.0)

    def grid_after(self, before: Geometry) -> Geometry:
        """Return a grid of the fixed sides."""
        return before.cropped(placed_box(before.shape, self.shape, Placement.CENTRE))

    def sides_after(self, before: Shape | None) -> Shape:  # noqa: ARG002 - whatever they were
        """Return the fixed sides."""
        return self.shape


class ResizeInPlane(GridStep, frozen=True):
    """Resample every slice along `axis` to a fixed number of voxels over the same field of view.

    `shape` gives the sides of the slice, in the order of the other two axes.
    """

    axis: Axis
    shape: tuple[Side, Side]
    interpolation: Interpolation

    def apply(self, frame: Frame) -> Frame:
        """Resample every slice of every channel."""
        return resized(frame, _in_plane(self.axis, self.shape, frame.geometry.shape), self.interpolation)

    def grid_after(self, before: Geometry) -> Geometry:
        """Return the grid of the fixed slices."""
        return before.resized(_in_plane(self.axis, self.shape, before.shape))


class CropOrPadInPlane(GridStep, frozen=True):
    """Cut or pad every slice along `axis` to a fixed number of voxels; the number of slices stays."""

    axis: Axis
    shape: tuple[Side, Side]
    placement: Placement = Placement.CENTRE
    value: float = 0.0

    def apply(self, frame: Frame) -> Frame:
        """Cut or pad every slice of every channel."""
        return boxed(frame, self._box(frame.geometry.shape), self.value)

    def grid_after(self, before: Geometry) -> Geometry:
        """Return the cut or padded grid."""
        return before.cropped(self._box(before.shape))

    def _box(self, shape: Shape) -> Box:
        return placed_box(shape, _in_plane(self.axis, self.shape, shape), self.placement)


def _in_plane(axis: int, plane: tuple[int, int], sides: Shape) -> Shape:
    wanted = list(plane)
    wanted.insert(axis, sides[axis])
    return (wanted[0], wanted[1], wanted[2])
