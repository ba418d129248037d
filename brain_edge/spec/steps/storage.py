"""Axes in the order of the array, whatever they mean anatomically."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec

from brain_edge.spec.steps.moves import Reordered, reorder
from brain_edge.spec.steps.step import GridStep

if TYPE_CHECKING:
    from brain_edge.spec.steps.frame import Frame

Axis: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2)]


class TransposeAxes(GridStep, frozen=True):
    """Put the stored axes into another order: axis n is then the one that was `axes[n]`; none is flipped.

    For programs that do not look at the orientation: nnU-Net sees a NIfTI as it is stored, last axis first, (2, 1, 0).
    Such a network is right only for images that are stored as its training images were; use `orient` where that
    order is known.
    """

    axes: tuple[Axis, Axis, Axis]

    def __post_init__(self) -> None:
        if sorted(self.axes) != [0, 1, 2]:
            msg = f"`axes` must name each of the axes 0, 1 and 2 once, got {list(self.axes)}"
            raise ValueError(msg)

    def apply(self, frame: Frame) -> Frame:
        """Permute; a view, no voxel is copied."""
        first, second, third = ((axis, False) for axis in self.axes)
        moves = (first, second, third)
        move = Reordered(frame.geometry, moves)
        return frame.moved(reorder(frame.voxels, moves), frame.geometry.reoriented(moves), move)
