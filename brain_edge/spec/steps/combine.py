"""Steps that combine the findings of several stages, of which their own stage is always the last.

The stages are members with separate pipelines: other windows, other planes, other networks for other regions. Members
that share their steps are graphs of one stage, which averages their probabilities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
import numpy as np

from brain_edge.errors import PackageError
from brain_edge.spec.steps.known_frame import KnownFrame, MisfitError, known_labels, one_label_map
from brain_edge.spec.steps.staple import staple
from brain_edge.spec.steps.step import CombineStep, LabelValue, StageName, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.spec.steps.frame import Array, Frame

Names = Annotated[tuple[StageName, ...], msgspec.Meta(min_length=1)]
Weight = Annotated[float, msgspec.Meta(gt=0.0)]


class JoinStages(CombineStep, frozen=True):
    """Put the channels of earlier stages, in the given order, before this stage's own: one network per region.

    Raises:
        PackageError: the findings of the stages lie on different grids.
    """

    stages: Names

    def apply(self, frame: Frame) -> Frame:
        """Map (C, I, J, K) to all channels (n, I, J, K)."""
        return frame.with_voxels(np.concatenate(members(frame, self.stages)))

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return all channels; labels stay labels if all findings are labels."""
        found = [*(before.findings[name] for name in self.stages), before]
        joined = before.with_channels(sum(each.channels for each in found))
        labels = [each.labels for each in found if each.labels is not None]
        if not labels:
            return joined
        if len(labels) < len(found):
            raise MisfitError("joins a stage with labels and one without; end both with labels, or none")
        return KnownFrame(joined.channels, frozenset().union(*labels), before.findings)


class AverageStages(CombineStep, frozen=True):
    """Average the probabilities of earlier stages and of this one, with weights.

    Attributes:
        stages: names of earlier stages, with as many channels as this one.
        weights: weight of each of `stages`, in order, then of this stage; empty for the plain mean.

    Raises:
        PackageError: the findings of the stages lie on different grids.
    """

    stages: Names
    weights: tuple[Weight, ...] = ()

    def __post_init__(self) -> None:
        if self.weights and len(self.weights) != len(self.stages) + 1:
            msg = f"expected {len(self.stages) + 1} weights, the last for this stage itself"
            raise ValueError(f"{msg}, got {len(self.weights)}")

    def apply(self, frame: Frame) -> Frame:
        """Map (C, I, J, K) of each stage to (C, I, J, K)."""
        weights = np.array(self.weights or [1.0] * (len(self.stages) + 1))
        weights /= weights.sum()
        mean = np.zeros(frame.voxels.shape, dtype=np.float32)
        for voxels, weight in zip(members(frame, self.stages), weights, strict=True):
            mean += voxels * np.float32(weight)
        return frame.with_voxels(mean)

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return the same channels."""
        for name in self.stages:
            found = before.findings[name]
            if found.labels is not None or before.labels is not None:
                raise MisfitError(f"averages with stage {name!r}, but labels have no average; use VoteStages")
            if found.channels != before.channels:
                raise MisfitError(f"averages {before.channels} channels with {found.channels} of stage {name!r}")
        return before


class VoteStages(CombineStep, frozen=True):
    """Take the label that most of the stages give, earlier ones and this one: a hard vote (multi-plane UNet++).

    In a tie, the label that comes first in `tie_order` wins. Labels that are not in `tie_order` follow, lower first.

    Raises:
        PackageError: the findings of the stages lie on different grids.
    """

    takes_labels: ClassVar[bool] = True

    stages: Names
    tie_order: tuple[LabelValue, ...] = ()

    def apply(self, frame: Frame) -> Frame:
        """Map (1, I, J, K) of each stage to (1, I, J, K)."""
        maps = members(frame, self.stages)
        most = np.zeros(frame.voxels.shape, dtype=np.uint8)
        winners = np.zeros(frame.voxels.shape, dtype=np.uint8)
        for label in ordered(_present(maps), self.tie_order):
            votes = sum((one == label).astype(np.uint8) for one in maps)
            winners[votes > most] = label
            most = np.maximum(most, votes)
        return frame.with_voxels(winners)

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return the labels of all stages."""
        return _labels_of_all(self, self.stages, before)


class StapleStages(CombineStep, frozen=True):
    """Take the most probable label by STAPLE from the label maps of earlier stages and this one (DeepSeg + nnU-Net).

    The weight of each map is its agreement with the truth, which is estimated at the same time. Of two equally probable
    labels the lower wins.

    Raises:
        PackageError: the findings of the stages lie on different grids.
    """

    takes_labels: ClassVar[bool] = True

    stages: Names

    def apply(self, frame: Frame) -> Frame:
        """Map (1, I, J, K) of each stage to (1, I, J, K)."""
        maps = members(frame, self.stages)
        return frame.with_voxels(staple(maps, ordered(_present(maps), ())))

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return the labels of all stages."""
        return _labels_of_all(self, self.stages, before)


def members(frame: Frame, stages: Sequence[str]) -> list[Array]:
    """Return the voxels of earlier stages, then the frame's own, all on one grid.

    Raises:
        PackageError: the voxels lie on different grids.
    """
    for name in stages:
        if not frame.findings[name].geometry.same_grid(frame.geometry):
            msg = (
                f"expected the finding of stage {name!r} on the grid of the other stages, got another grid; "
                "correct the specification of the model (a `restore` in each stage leads to one grid)"
            )
            raise PackageError(msg)
    return [*(frame.findings[name].voxels for name in stages), frame.voxels]


def ordered(labels: Sequence[int], first: Sequence[int]) -> list[int]:
    """Return labels in the order of `first`, then the others in ascending order."""
    return [*(label for label in first if label in labels), *sorted(set(labels) - set(first))]


def _present(maps: Sequence[Array]) -> list[int]:
    """Return the values that occur in label maps."""
    counts = sum(np.bincount(one.reshape(-1), minlength=256) for one in maps)
    return [int(value) for value in np.flatnonzero(counts)]


def _labels_of_all(step: Step, stages: Sequence[str], before: KnownFrame) -> KnownFrame:
    labels = one_label_map(before, step)
    for name in stages:
        found = before.findings[name]
        if found.channels != 1:
            raise MisfitError(f"expects one label map from stage {name!r}, got {found.channels}")
        labels |= known_labels(found, step)
    return before.with_labels(labels)
