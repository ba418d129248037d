"""Steps that change intensities channel by channel, and the statistics that they use."""

from __future__ import annotations

import math
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import msgspec
import numpy as np

from brain_edge.errors import InputError
from brain_edge.spec.steps.step import Bound, Copies, FittedName, IntensityStep, Scope, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from brain_edge.spec.steps.frame import Array, Frame

BLOCK: Final = 2**16
"""Voxels per block of a sum: float32 products of one block keep a relative error below 1e-5."""


class Region(StrEnum):
    """Voxels of a channel over which a statistic is computed."""

    ALL = "all"
    """Every voxel, including air (HD-BET v1, deepbet)."""
    NONZERO = "nonzero"
    """Voxels that are not 0, for images that are already skull-stripped."""
    POSITIVE = "positive"
    """Voxels above 0 (MONAI, `is_positive`)."""
    ABOVE_MEAN = "above_mean"
    """Voxels not below the mean of the channel: the head without the air (BrainMaGe)."""


class FitPercentile(IntensityStep, frozen=True):
    """Fit a percentile of each channel, under a name; the voxels stay as they are.

    The percentile is linear between order statistics, as in numpy and torch.
    """

    name: FittedName
    percent: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)]
    region: Region = Region.ALL

    def apply(self, frame: Frame) -> Frame:
        """Add the statistic to the frame."""
        fitted = tuple(_percentile(selected(channel, self.region), self.percent) for channel in frame.voxels)
        return replace(frame, statistics={**frame.statistics, self.name: fitted})


class Moment(StrEnum):
    """Statistic that `FitMoment` fits."""

    MEAN = "mean"
    """Mean."""
    DEVIATION = "deviation"
    """Population standard deviation."""


class FitMoment(IntensityStep, frozen=True):
    """Fit the mean or the standard deviation of each channel over a region, under a name; the voxels stay as they are.

    With `Normalise`, every voxel gets a z-score by the moments of a region. In contrast, `ZScore` over `NONZERO` keeps
    0 at 0.
    """

    name: FittedName
    moment: Moment
    region: Region = Region.ALL

    def apply(self, frame: Frame) -> Frame:
        """Add the statistic to the frame."""
        which = list(Moment).index(self.moment)
        fitted = tuple(_mean_and_deviation(selected(channel, self.region))[which] for channel in frame.voxels)
        return replace(frame, statistics={**frame.statistics, self.name: fitted})


class Clip(IntensityStep, frozen=True):
    """Limit each channel to bounds; None leaves that side open."""

    scope: ClassVar[Scope] = Scope.VOXEL

    lower: Bound | None = None
    upper: Bound | None = None

    def apply(self, frame: Frame) -> Frame:
        """Clip every channel."""
        clipped = frame.voxels
        if self.lower is not None:
            clipped = np.maximum(clipped, _per_channel(frame, self.lower))
        if self.upper is not None:
            clipped = np.minimum(clipped, _per_channel(frame, self.upper))
        return frame.with_voxels(clipped)


class Normalise(IntensityStep, frozen=True):
    """Compute (x - subtract) / divide per channel.

    Raises:
        InputError: the divisor is zero, so the channel has no contrast to normalise.
    """

    scope: ClassVar[Scope] = Scope.VOXEL

    subtract: Bound = 0.0
    divide: Bound = 1.0

    def apply(self, frame: Frame) -> Frame:
        """Normalise every channel."""
        offsets, divisors = _per_channel(frame, self.subtract), _per_channel(frame, self.divide)
        return frame.with_voxels(_shift_and_divide(frame.voxels, offsets, divisors, self))

    def affine(self) -> tuple[float, float] | None:
        """Return (multiply, add) if the bounds are constants; else None."""
        if isinstance(self.subtract, str) or isinstance(self.divide, str) or not self.divide:
            return None
        return 1 / self.divide, -self.subtract / self.divide


class RescaleToUnit(IntensityStep, frozen=True):
    """Clip each channel to [lower, upper] and scale that range to [0, 1].

    Raises:
        InputError: both bounds are equal.
    """

    scope: ClassVar[Scope] = Scope.VOXEL

    lower: Bound
    upper: Bound

    def apply(self, frame: Frame) -> Frame:
        """Clip and scale every channel."""
        lower, upper = _per_channel(frame, self.lower), _per_channel(frame, self.upper)
        scaled = _shift_and_divide(frame.voxels, lower, upper - lower, self)
        return frame.with_voxels(np.clip(scaled, 0.0, 1.0, out=scaled))


class ZScore(IntensityStep, frozen=True):
    """Subtract the mean and divide by the standard deviation of each channel, over a region.

    Over `NONZERO`, voxels of 0 stay 0.

    Raises:
        InputError: the region is empty or constant.
    """

    scope: ClassVar[Scope] = Scope.FITTED

    region: Region = Region.ALL

    def apply(self, frame: Frame) -> Frame:
        """Normalise every channel."""
        return frame.with_voxels(self.fitted(frame)(frame.voxels))

    def fitted(self, frame: Frame) -> Callable[[Array], Array]:
        """Return the step for any part (C, i, j, k) of these voxels, with the moments of all voxels."""
        return self._with([_mean_and_deviation(selected(channel, self.region)) for channel in frame.voxels])

    def fitted_to_copies(self, frame: Frame, copies: Copies) -> Callable[[Array], Array]:
        """Return the step with the moments of all copies of the voxels."""
        return self._with([_moments_of_copies(channel, copies) for channel in frame.voxels])

    @property
    def counts_copies(self) -> bool:
        """True for the region of all voxels."""
        return self.region is Region.ALL

    def _with(self, moments: Sequence[tuple[float, float]]) -> Callable[[Array], Array]:
        means, deviations = (_column(values) for values in zip(*moments, strict=True))

        def scale(voxels: Array) -> Array:
            scaled = _shift_and_divide(voxels, means, deviations, self)
            if self.region is Region.NONZERO:
                scaled *= voxels != 0
            return scaled

        return scale


class Linear(IntensityStep, frozen=True):
    """Compute x * multiply + add, the same for every channel (a data set's published mean and deviation)."""

    scope: ClassVar[Scope] = Scope.VOXEL

    multiply: float = 1.0
    add: float = 0.0

    def apply(self, frame: Frame) -> Frame:
        """Scale every voxel."""
        scaled = frame.voxels * np.float32(self.multiply)
        scaled += np.float32(self.add)
        return frame.with_voxels(scaled)

    def affine(self) -> tuple[float, float]:
        """Return (multiply, add)."""
        return self.multiply, self.add


def selected(channel: Array, region: Region) -> Array:
    """Return the voxels (N,) of a channel (I, J, K) that belong to a region.

    Raises:
        InputError: the region has no voxels.
    """
    if region is Region.ALL:
        return channel
    values: Array = channel[inside(channel, region)]
    if values.size == 0:
        raise InputError(f"expected voxels of the region {region} in every channel, found none; check the images")
    return values


def inside(channel: Array, region: Region) -> Array:
    """Return True at the voxels of a channel (I, J, K) that belong to a region."""
    if region is Region.ALL:
        return np.ones(channel.shape, dtype=bool)
    if region is Region.NONZERO:
        return np.asarray(channel != 0)
    if region is Region.POSITIVE:
        return np.asarray(channel > 0)
    return np.asarray(channel >= channel.mean(dtype=np.float64))


def _percentile(values: Array, percent: float) -> float:
    """Return a percentile, to the bit that of `numpy.percentile`, which also sorts the ends and imports `numpy.ma`.

    0 and 100, which each clip of a resampled volume uses, need no sorting (50 times faster).
    """
    if percent in (0.0, 100.0):
        return float(values.max() if percent else values.min())
    share, last = percent / 100, values.size - 1
    position = values.size * share + (1 - share) - 1
    below = min(max(math.floor(position), 0), last)
    above, part = min(below + 1, last), position - below
    ordered = np.partition(values, (below, above), axis=None)
    low, high = ordered[below], ordered[above]
    return float(low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part))


def _mean_and_deviation(values: Array) -> tuple[float, float]:
    """Return mean and population standard deviation, summed in float64 over blocks.

    `numpy.std` in float64 makes a float64 copy of the whole volume, which caused the peak memory of deepbet's
    preprocessing. A block fits into the cache.
    """
    mean = float(values.mean(dtype=np.float64))
    flat = values.reshape(-1)
    squares = 0.0
    for start in range(0, flat.size, BLOCK):
        centred = flat[start : start + BLOCK] - np.float32(mean)
        squares += float(np.dot(centred, centred))
    return mean, math.sqrt(squares / flat.size)


def _moments_of_copies(channel: Array, copies: Copies) -> tuple[float, float]:
    """Return mean and population standard deviation of a volume that holds each voxel (I, J, K) several times.

    Sums are in float64, plane by plane: a plane stays in the caches.
    """
    along_i, along_j, along_k = (each.astype(np.float64) for each in copies)
    total = math.prod(int(each.sum()) for each in copies)

    def summed(plane: Array) -> float:
        return float(along_j @ (plane.astype(np.float64) @ along_k))

    mean = sum(count * summed(plane) for count, plane in zip(along_i, channel, strict=True)) / total
    centred = (plane - np.float32(mean) for plane in channel)
    squares = sum(count * summed(plane * plane) for count, plane in zip(along_i, centred, strict=True))
    return float(mean), math.sqrt(squares / total)


def _per_channel(frame: Frame, bound: Bound) -> Array:
    """Return the value of a bound for each channel, (C, 1, 1, 1) float32."""
    channels = frame.voxels.shape[0]
    return _column(frame.statistics[bound] if isinstance(bound, str) else [bound] * channels)


def _column(values: Sequence[float]) -> Array:
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1, 1)


def _shift_and_divide(voxels: Array, offsets: Array, divisors: Array, step: Step) -> Array:
    if not divisors.all():
        raise InputError(
            f"expected an image with contrast, got one value in all voxels of the step {type(step).__name__}; "
            "check that the file is the right sequence"
        )
    shifted = voxels - offsets
    shifted /= divisors
    return shifted
