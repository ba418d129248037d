"""Steps that no package knows: the test of unknown steps runs them, and puts this very file among the others."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec
import numpy as np

from brain_edge.image.resample import Interpolation, resize
from brain_edge.spec.steps.moves import Move
from brain_edge.spec.steps.step import Bound, DecodeStep, FittedName, GridStep, IntensityStep, Saving, Scope, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brain_edge.spec.steps.frame import Array, Frame
    from brain_edge.spec.steps.known_frame import KnownFrame
    from brain_edge.spec.steps.moves import Rest, Span


class Curve(StrEnum):
    """How `Soften` bends what lies beyond its knee."""

    FLAT = "flat"
    """Not at all: it is the knee."""
    ROOT = "root"
    """As the square root of the distance."""


class Soften(IntensityStep, frozen=True):
    """Bend intensities beyond a knee, on one side of it."""

    scope: ClassVar[Scope] = Scope.VOXEL

    knee: Bound
    curve: Curve = Curve.ROOT
    side: Literal["above", "below"] = "above"

    def apply(self, frame: Frame) -> Frame:
        """Bend every channel."""
        knees = frame.statistics[self.knee] if isinstance(self.knee, str) else (self.knee,)
        knee = np.array(knees, dtype=np.float32).reshape(-1, 1, 1, 1)
        beyond = np.maximum(frame.voxels - knee if self.side == "above" else knee - frame.voxels, 0)
        bent = np.sqrt(beyond) if self.curve is Curve.ROOT else np.float32(0)
        return frame.with_voxels(np.where(beyond > 0, knee + (bent if self.side == "above" else -bent), frame.voxels))


class FitMiddle(IntensityStep, frozen=True):
    """Fit the middle between the least and the greatest value of each channel, under a name."""

    called: FittedName

    def apply(self, frame: Frame) -> Frame:
        """Add the statistic to the frame."""
        middles = tuple(float(channel.min() + channel.max()) / 2 for channel in frame.voxels)
        return replace(frame, statistics={**frame.statistics, self.called: middles})


class Twice(GridStep, frozen=True):
    """Twice as many voxels along each axis over the same field of view."""

    interpolation: Interpolation
    careful: bool = True

    def apply(self, frame: Frame) -> Frame:
        """Resample every channel."""
        i, j, k = (2 * side for side in frame.geometry.shape)
        after = frame.geometry.resized((i, j, k))
        return frame.moved(resize(frame.voxels, (i, j, k), self.interpolation), after, Doubled(frame.geometry))

    def cheaper(self) -> Mapping[Saving, Step]:
        """Without care, too."""
        less = {} if not self.careful else {Saving.PADDING: msgspec.structs.replace(self, careful=False)}
        return {**super().cheaper(), **less}


class Doubled(Move):
    """Twice as many voxels; the way back takes every other one."""

    in_slabs: ClassVar[bool] = True

    def undo(self, voxels: Array, interpolation: Interpolation) -> Array:  # noqa: ARG002 - whole voxels only
        """The first of each pair along each axis."""
        return voxels[:, ::2, ::2, ::2]

    def undo_slab(self, rest: Rest, axis: int, span: Span) -> Array:
        """Of twice as many planes."""
        return rest.slab(axis, (2 * span[0], 2 * span[1]))[:, ::2, ::2, ::2]


class Band(DecodeStep, frozen=True):
    """Label 1 where a channel lies between two values."""

    scope: ClassVar[Scope] = Scope.VOXEL
    decides: ClassVar[bool] = True

    above: Annotated[float, msgspec.Meta(ge=0.0)]
    below: float

    def apply(self, frame: Frame) -> Frame:
        """(C, I, J, K) -> (1, I, J, K) uint8, by the last channel."""
        last = frame.voxels[-1:]
        return frame.with_voxels(((last > self.above) & (last < self.below)).astype(np.uint8))

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """The label 1."""
        return before.with_labels({1})
