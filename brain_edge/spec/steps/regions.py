"""Decoding of overlapping regions, or of ordered classes, into one label map."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
import numpy as np

from brain_edge.spec.base import Value
from brain_edge.spec.steps.known_frame import KnownFrame, MisfitError
from brain_edge.spec.steps.step import DecodeStep, LabelValue, Scope, Sources

if TYPE_CHECKING:
    from brain_edge.spec.steps.frame import Array, Frame

Channel = Annotated[int, msgspec.Meta(ge=0, le=255)]
TABLE_CHANNELS = 8


class PaintedRegion(Value, frozen=True):
    """Region in which a channel is above a value and the label map takes a label.

    Attributes:
        channel: channel of the network's output, from 0.
        above: value that the channel must exceed.
        label: label that is painted; 0 removes what was painted before.
    """

    channel: Channel
    above: float
    label: LabelValue


class PaintRegions(DecodeStep, frozen=True):
    """Paint regions one over the other, in order: the last region that contains a voxel gives its label.

    BraTS regions become labels by painting the whole tumour with the label of oedema, the core over it with that of
    necrosis, and the enhancing part over that. For nested regions this is the set difference (oedema = whole minus
    core). If regions contradict each other, the later one wins (nnU-Net, region-based training; HarDNet-BTS; nnSegNet's
    sequential thresholds, with a threshold for each region).
    """

    scope: ClassVar[Scope] = Scope.VOXEL
    decides: ClassVar[bool] = True

    regions: Annotated[tuple[PaintedRegion, ...], msgspec.Meta(min_length=1)]

    def apply(self, frame: Frame) -> Frame:
        """Map (C, I, J, K) probabilities to (1, I, J, K) uint8 labels."""
        labels = np.zeros(frame.voxels.shape[1:], dtype=np.uint8)
        for region in self.regions:
            labels[frame.voxels[region.channel] > region.above] = region.label
        return frame.with_voxels(labels[np.newaxis])

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return the labels that are painted."""
        for region in self.regions:
            if region.channel >= before.channels:
                raise MisfitError(f"paints channel {region.channel}, but has only channels 0 to {before.channels - 1}")
        return before.with_labels({region.label for region in self.regions})


class LookUpRegions(DecodeStep, frozen=True):
    """Look up one label for each combination of regions: a conflict table (cascaded U-Net, BraTS 2021).

    Channel c contributes 2^c where it exceeds `above[c]`; the label is the entry at the sum. For the regions WT, TC,
    ET the table of that paper is (0, 2, 1, 1, 0, 4, 4, 4): ET alone is background.

    Attributes:
        above: value that each channel must exceed.
        labels: table of 2^C labels.
    """

    scope: ClassVar[Scope] = Scope.VOXEL
    decides: ClassVar[bool] = True

    above: Annotated[tuple[float, ...], msgspec.Meta(min_length=1, max_length=TABLE_CHANNELS)]
    labels: tuple[LabelValue, ...]

    def __post_init__(self) -> None:
        if len(self.labels) != 2 ** len(self.above):
            msg = f"expected {2 ** len(self.above)} labels for the combinations of {len(self.above)} regions"
            raise ValueError(f"{msg}, got {len(self.labels)}")

    def apply(self, frame: Frame) -> Frame:
        """Map (C, I, J, K) probabilities to (1, I, J, K) uint8 labels."""
        entries = np.zeros(frame.voxels.shape[1:], dtype=np.uint8)
        for channel, (values, above) in enumerate(zip(frame.voxels, self.above, strict=True)):
            entries |= (values > above).astype(np.uint8) << channel
        return frame.with_voxels(np.array(self.labels, dtype=np.uint8)[entries][np.newaxis])

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return the labels of the table."""
        if before.channels != len(self.above):
            raise MisfitError(f"has a table for {len(self.above)} regions, but {before.channels} channels")
        return before.with_labels(set(self.labels))


class OrdinalRule(StrEnum):
    """Rule that reduces the probabilities of all levels to one level."""

    ARGMAX = "argmax"
    """The most probable level; the lower of two equally probable levels."""
    EXPECTED = "expected"
    """The mean level, rounded; a half goes up."""


class OrdinalLevels(DecodeStep, frozen=True):
    """Decode ordered levels: channel c means "exactly c of N annotators marked it" (multi-annotator nnU-Net).

    The label is the level. The mask of at least c annotators is label >= c, the certainty label / N.
    """

    scope: ClassVar[Scope] = Scope.VOXEL
    decides: ClassVar[bool] = True

    rule: OrdinalRule = OrdinalRule.ARGMAX

    def apply(self, frame: Frame) -> Frame:
        """Map (N + 1, I, J, K) probabilities to (1, I, J, K) uint8 levels 0 to N."""
        if self.rule is OrdinalRule.ARGMAX:
            return frame.with_voxels(frame.voxels.argmax(axis=0).astype(np.uint8)[np.newaxis])
        return frame.with_voxels(np.floor(_mean_level(frame.voxels) + np.float32(0.5)).astype(np.uint8)[np.newaxis])

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return one label per level."""
        if before.channels < 2:
            raise MisfitError("needs at least two channels to make levels, got one")
        return before.with_labels(set(range(before.channels)))


class PrependBackground(DecodeStep, frozen=True):
    """Prepend a channel for background, max(0, 1 - the sum of the others), and divide all channels by their sum.

    This leads from sigmoids of classes that exclude each other to an argmax (TCuP-GAN).
    """

    def apply(self, frame: Frame) -> Frame:
        """Map (C, I, J, K) to (C + 1, I, J, K), which sums to one."""
        total = frame.voxels.sum(axis=0, keepdims=True, dtype=np.float32)
        background = np.maximum(np.float32(1) - total, np.float32(0))
        joined = np.concatenate([background, frame.voxels])
        joined /= total + background
        return frame.with_voxels(joined)

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return the facts with one more channel."""
        return before.with_channels(before.channels + 1)

    def channels_of(self, sources: Sources) -> Sources:
        """Return the channels after a background channel that no output channel adds to."""
        return ((), *sources)


def _mean_level(probabilities: Array) -> Array:
    """Return the expected level (I, J, K), one channel at a time; a single product would copy every channel."""
    total = np.zeros(probabilities.shape[1:], dtype=np.float32)
    weighted = np.zeros_like(total)
    for level, channel in enumerate(probabilities):
        total += channel
        weighted += np.float32(level) * channel
    return np.asarray(weighted / np.maximum(total, np.finfo(np.float32).tiny))
