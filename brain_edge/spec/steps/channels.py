"""Steps that add channels to those of the sequences; they stand after the intensity steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from brain_edge.errors import InputError
from brain_edge.spec.steps.known_frame import KnownFrame, MisfitError
from brain_edge.spec.steps.regrid import onto
from brain_edge.spec.steps.step import ChannelStep, LabelValue, StageName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.spec.steps.frame import Array, Frame


class AppendStage(ChannelStep, frozen=True):
    """Append the finding of an earlier stage as further channels: its labels as numbers, or its probabilities.

    A finding on another grid is resampled through the world: labels by nearest voxel, probabilities linearly, 0
    outside. On the same grid nothing is interpolated (cascaded U-Net, BraTS 2021: each region is an input of the next
    network).
    """

    stage: StageName

    def apply(self, frame: Frame) -> Frame:
        """Map (C, I, J, K) to (C + n, I, J, K)."""
        found = frame.findings[self.stage]
        is_labels = found.voxels.dtype == np.uint8
        added = onto(found.voxels, found.geometry, frame.geometry, is_labels=is_labels)
        return appended(frame, added)

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return the facts with the channels of the stage added."""
        return before.with_channels(before.channels + before.findings[self.stage].channels)


class AppendForeground(ChannelStep, frozen=True):
    """Append the brain mask of a skull-stripped study as a channel: 1 where any sequence is not 0 (DiNTS, BraTS 2021).

    It stands after a normalisation that leaves background 0, such as `z_score` over `nonzero`.
    """

    def apply(self, frame: Frame) -> Frame:
        """Map (C, I, J, K) to (C + 1, I, J, K)."""
        return appended(frame, (frame.voxels != 0).any(axis=0, keepdims=True))

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return the facts with one more channel."""
        return before.with_channels(before.channels + 1)


class OneHot(ChannelStep, frozen=True):
    """Turn a label map into one channel per class, 1 where the voxel has that value: the input of a generator (SPADE).

    Raises:
        InputError: the image contains a value that is not a class.
    """

    values: Annotated[tuple[LabelValue, ...], msgspec.Meta(min_length=2)]

    def apply(self, frame: Frame) -> Frame:
        """Map (1, I, J, K) to (len(values), I, J, K) float32."""
        classes = np.array(self.values, dtype=frame.voxels.dtype).reshape(-1, 1, 1, 1)
        hot = frame.voxels == classes
        if not hot.any(axis=0).all():
            strange = np.setdiff1d(frame.voxels, self.values)[:3].tolist()
            raise InputError(
                f"expected a label map of the values {_listed(self.values)}, got also {_listed(strange)}; "
                "give a label map with the classes that this generator was trained on"
            )
        return frame.with_voxels(hot.astype(np.float32))

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return the facts with one channel per class."""
        if before.channels != 1:
            raise MisfitError(f"needs one label map to make classes, got {before.channels} channels")
        return before.with_channels(len(self.values))

    def label_values(self) -> tuple[int, ...]:
        """Return the classes."""
        return self.values


def appended(frame: Frame, channels: Array) -> Frame:
    """Return the frame with further channels (n, I, J, K) after its own, as float32."""
    joined = [frame.voxels.astype(np.float32, copy=False), channels.astype(np.float32, copy=False)]
    return frame.with_voxels(np.concatenate(joined))


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
