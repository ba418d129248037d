"""Steps after the network: probabilities to labels, back to the caller's grid, and cleaning up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import msgspec
import numpy as np

from brain_edge.image.components import largest, without_holes
from brain_edge.image.resample import Interpolation
from brain_edge.spec.execution import Activation
from brain_edge.spec.steps.known_frame import KnownFrame, MisfitError
from brain_edge.spec.steps.step import CleanStep, DecodeStep, LabelValue, Scope, Sources, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brain_edge.spec.steps.frame import Frame

Plane = Literal["axial", "coronal", "sagittal"]


class Argmax(DecodeStep, frozen=True):
    """Take the most probable channel of each voxel; channel k becomes the label `values[k]` (k itself if empty)."""

    scope: ClassVar[Scope] = Scope.VOXEL
    decides: ClassVar[bool] = True

    values: tuple[LabelValue, ...] = ()

    def apply(self, frame: Frame) -> Frame:
        """Map (C, I, J, K) probabilities or logits to (1, I, J, K) uint8 labels."""
        # for two channels, the usual case, a comparison is ten times faster than argmax
        if frame.voxels.shape[0] == 2:
            winners = (frame.voxels[1] > frame.voxels[0]).astype(np.uint8)
        else:
            winners = frame.voxels.argmax(axis=0).astype(np.uint8)
        if self.values:
            winners = np.array(self.values, dtype=np.uint8)[winners]
        return frame.with_voxels(winners[np.newaxis])

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return the labels of the channels."""
        if before.channels < 2 or (self.values and len(self.values) != before.channels):
            raise MisfitError(
                f"needs a label for each of 2 or more channels, got {len(self.values)} for {before.channels}"
            )
        return before.with_labels(set(self.values or range(before.channels)))

    def channels_of(self, sources: Sources) -> Mapping[int, tuple[int, ...]]:
        """Return the channels of each label; several channels may have the same label."""
        found: dict[int, tuple[int, ...]] = {}
        for value, own in zip(self.values or range(len(sources)), sources, strict=True):
            found[value] = found.get(value, ()) + own
        return {value: own for value, own in found.items() if value}

    def on_logits(self, activation: Activation) -> Self:  # noqa: ARG002 - softmax and sigmoid
        """Return the same step, because softmax and sigmoid keep the order of a voxel's logits."""
        return self

    def on_foreground(self) -> Step | None:
        """Return a threshold of one half if the step separates background from foreground."""
        return Threshold(channel=0, above=0.5) if self.values in ((), (0, 1)) else None


class Threshold(DecodeStep, frozen=True):
    """Set label 1 where one channel is above a value, else 0."""

    scope: ClassVar[Scope] = Scope.VOXEL
    decides: ClassVar[bool] = True

    channel: Annotated[int, msgspec.Meta(ge=0)]
    above: float

    def apply(self, frame: Frame) -> Frame:
        """Map (C, I, J, K) probabilities to (1, I, J, K) uint8 labels."""
        channel = frame.voxels[self.channel : self.channel + 1]
        return frame.with_voxels((channel > self.above).astype(np.uint8))

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return the label 1."""
        if self.channel >= before.channels:
            raise MisfitError(f"thresholds channel {self.channel}, but has only channels 0 to {before.channels - 1}")
        return before.with_labels({1})

    def channels_of(self, sources: Sources) -> Mapping[int, tuple[int, ...]]:
        """Return the channel of the threshold for label 1."""
        return {1: sources[self.channel]}

    def on_logits(self, activation: Activation) -> Self | None:
        """Return the threshold log(t / (1 - t)) for a sigmoid; None for a softmax, which depends on other channels."""
        if activation is not Activation.SIGMOID or not 0 < self.above < 1:
            return None
        return msgspec.structs.replace(self, above=math.log(self.above / (1 - self.above)))

    def on_foreground(self) -> Step | None:
        """Return the same threshold if its channel is the foreground."""
        return msgspec.structs.replace(self, channel=0) if self.channel == 1 else None


class Restore(DecodeStep, frozen=True):
    """Return to the caller's own grid: undo every move of the stage, with 0 where voxels were cut away.

    Labels are restored with `NEAREST`, probabilities (before a threshold) with `LINEAR` or `CUBIC`.
    """

    interpolation: Interpolation

    def apply(self, frame: Frame) -> Frame:
        """Undo the trail of the frame."""
        return frame.undone(self.interpolation)

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return the same channels; labels stay labels only if no value between two of them can arise."""
        return before if self.interpolation is Interpolation.NEAREST else before.with_channels(before.channels)

    def channels_of(self, sources: Sources) -> Sources:
        """Return the same channels, because only the grid changes."""
        return sources

    def way_back(self) -> Interpolation:
        """Return the interpolation of the step."""
        return self.interpolation


class LargestComponent(CleanStep, frozen=True):
    """Keep the largest connected component of the foreground (all labels but background)."""

    connectivity: Literal[6, 18, 26] = 26

    def apply(self, frame: Frame) -> Frame:
        """Set the labels of the smaller components to 0; an empty map stays empty."""
        labels = frame.voxels[0]
        kept = largest(labels > 0, self.connectivity)
        return frame.with_voxels(np.where(kept, labels, np.uint8(0))[np.newaxis])


class FillHoles(CleanStep, frozen=True):
    """Fill the background that the foreground encloses, in 3D or slice by slice, with one label."""

    axis: Literal["volume", "axial", "coronal", "sagittal"] = "volume"
    value: LabelValue = 1

    def apply(self, frame: Frame) -> Frame:
        """Fill the holes of the (1, I, J, K) label map."""
        labels = frame.voxels[0]
        foreground = labels > 0
        if self.axis == "volume":
            filled = without_holes(foreground)
        else:
            along = stacked_axis(self.axis, frame.geometry.orientation)
            slices = [without_holes(plane) for plane in np.moveaxis(foreground, along, 0)]
            filled = np.moveaxis(np.stack(slices), 0, along)
        return frame.with_voxels(np.where(filled & ~foreground, np.uint8(self.value), labels)[np.newaxis])


def stacked_axis(plane: Plane, orientation: str) -> int:
    """Return the array axis along which the slices of an anatomical plane are stacked."""
    normal = {"axial": "IS", "coronal": "PA", "sagittal": "LR"}[plane]
    return next(axis for axis, letter in enumerate(orientation) if letter in normal)
