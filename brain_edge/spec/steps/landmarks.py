"""Intensity steps with numbers that were fitted in training and are part of the package."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from brain_edge.errors import InputError
from brain_edge.spec.steps.intensity import Region, selected
from brain_edge.spec.steps.step import FittedName, IntensityStep

if TYPE_CHECKING:
    from brain_edge.spec.steps.frame import Array, Frame
    from brain_edge.spec.steps.known_frame import KnownFrame

Percent = Annotated[float, msgspec.Meta(ge=0.0, le=100.0)]


class Constants(IntensityStep, frozen=True):
    """Add a statistic of the training data, one value per sequence, under a name; the voxels stay as they are.

    `clip`, `normalise` and `rescale_to_unit` use it like a statistic that `fit_percentile` has fitted.
    """

    name: FittedName
    values: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)]

    def apply(self, frame: Frame) -> Frame:
        """Add the statistic to the frame."""
        values = tuple(frame.present(self.values))
        return replace(frame, statistics={**frame.statistics, self.name: values})

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return the same channels."""
        return before.given_one_each(len(self.values), "constants")


class MatchLandmarks(IntensityStep, frozen=True):
    """Map percentiles of each channel to fixed intensities, linearly between them and beyond the outermost ones.

    The landmarks are the mean percentiles of a training set (Nyul and Udupa; TorchIO's HistogramStandardization) or
    those of one reference subject (histogram matching). Equal percentiles map to the first of their landmarks. Over
    `nonzero`, voxels of 0 stay 0.

    Attributes:
        percents: percentiles in ascending order, at least two.
        landmarks: intensities in ascending order for each sequence, one per percentile.
        region: voxels over which the percentiles are computed.

    Raises:
        InputError: a channel has no contrast over the region.
    """

    percents: Annotated[tuple[Percent, ...], msgspec.Meta(min_length=2)]
    landmarks: Annotated[tuple[tuple[float, ...], ...], msgspec.Meta(min_length=1)]
    region: Region = Region.ALL

    def __post_init__(self) -> None:
        if list(self.percents) != sorted(set(self.percents)):
            msg = "expected percents in ascending order, each once"
            raise ValueError(msg)
        for values in self.landmarks:
            if len(values) != len(self.percents) or list(values) != sorted(values):
                msg = f"expected {len(self.percents)} landmarks per sequence, one for each percent, in ascending order"
                raise ValueError(msg)

    def apply(self, frame: Frame) -> Frame:
        """Map every channel."""
        pairs = zip(frame.voxels, frame.present(self.landmarks), strict=True)
        return frame.with_voxels(np.stack([self._mapped(channel, np.array(marks)) for channel, marks in pairs]))

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """Return the same channels."""
        return before.given_one_each(len(self.landmarks), "rows of landmarks")

    def _mapped(self, channel: Array, marks: Array) -> Array:
        found = np.percentile(selected(channel, self.region), self.percents)
        kept = np.flatnonzero(np.diff(found, prepend=-np.inf) > 0)
        if kept.size < 2:
            raise InputError(
                "expected an image with contrast, got one value at all percentiles of the step MatchLandmarks; "
                "check that the file is the right sequence"
            )
        mapped = piecewise_linear(channel, found[kept], marks[kept])
        return mapped * (channel != 0) if self.region is Region.NONZERO else mapped


def piecewise_linear(values: Array, knots: Array, targets: Array) -> Array:
    """Interpolate like `numpy.interp`, but extend the outermost pieces instead of staying flat; float32."""
    mapped = np.interp(values, knots, targets).astype(np.float32)
    for beyond, end, slope in (
        (values < knots[0], 0, (targets[1] - targets[0]) / (knots[1] - knots[0])),
        (values > knots[-1], -1, (targets[-1] - targets[-2]) / (knots[-1] - knots[-2])),
    ):
        mapped[beyond] = targets[end] + slope * (values[beyond] - knots[end])
    return mapped
