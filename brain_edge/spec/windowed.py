"""Execution of networks in windows, as data: position of the windows, and their weighting where they overlap."""

from __future__ import annotations

import itertools
import math
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from brain_edge.spec.execution import Cheaper, Execution, PositiveInt, WholeVolume
from brain_edge.spec.tiling import Tiling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.image.geometry import Shape

Starting = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""First voxels along each axis."""

OVERLAPS: Final = (0.5, 0.25, 0.0)
"""Overlaps of windows as a share of their side, the most expensive first."""
LARGEST_MULTIPLE: Final = 32
"""Multiple to which a whole volume is padded unless the windows fit a smaller one: networks halve sides five times."""


class Blending(StrEnum):
    """Weight of a voxel of a window where windows overlap."""

    CONSTANT = "constant"
    """Equal weights."""
    GAUSSIAN = "gaussian"
    """Gaussian weights, lower towards the border, where the network sees less context (sigma = 1/8 side)."""
    GAUSSIAN_CUT = "gaussian_cut"
    """Gaussian centred at voxel `side // 2`, cut at four sigmas, in half precision: nnU-Net v2 to the digit."""
    GAUSSIAN_FLOOR = "gaussian_floor"
    """`gaussian` without rescaling, at least 0.001: MONAI to the digit. The middle of an even side lies between voxels,
    which weigh less than 1."""
    LAST = "last"
    """No blending: a voxel has the value of the last window that contains it. Half of the overlap is cut from each
    inner side of a window (TorchIO's grid aggregator, `crop`). Only for windows at a fixed step."""


class Starts(StrEnum):
    """Positions at which windows begin."""

    FIXED_STEP = "fixed_step"
    """Every `int(side * (1 - overlap))` voxels; the last window is moved back to the border (MONAI)."""


class Windowed(Execution, frozen=True):
    """Base of the kinds that take windows of a fixed shape from any image."""

    averages: ClassVar[bool] = True

    shape: tuple[PositiveInt, PositiveInt, PositiveInt]

    @property
    def margin(self) -> Shape:
        """Number of input voxels on each side of a window of the tiling whose output does not count."""
        return 0, 0, 0

    def tiling(self, sides: Shape) -> Tiling:
        """Return the windows of a volume of `sides` (I, J, K)."""
        raise NotImplementedError(type(self).__name__)

    def seen(self, sides: Shape) -> Shape:  # noqa: ARG002 - whatever the image
        """Return the sides of a window."""
        return self.shape

    def known_input(self, channels_in: int, sides: Shape | None) -> tuple[int, ...]:  # noqa: ARG002
        """Return the input shape of a window."""
        return (1, channels_in, *self.shape)


class SlidingWindow(Windowed, frozen=True, tag="sliding_window"):
    """The network takes overlapping windows of a fixed shape; their outputs are averaged.

    Unless `starts` is given, windows start at equal steps of at most `side * (1 - overlap)` voxels, and the last one
    ends at the border (nnU-Net v2, `compute_steps_for_sliding_window`). A volume smaller than a window is padded with
    zeros.

    Raises:
        ValueError: `blending` is `last`, and windows have no fixed step.
    """

    takes_any_box: ClassVar[bool] = True
    is_streamed: ClassVar[bool] = True

    overlap: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.5
    blending: Blending = Blending.GAUSSIAN
    starts: Starts | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.blending is Blending.LAST and self.starts is not Starts.FIXED_STEP:
            raise ValueError("`blending` last needs `starts` fixed_step, because the overlap must be known")

    @property
    def fixed_steps(self) -> Shape:
        """Step from one window to the next along each axis in voxels, for windows at a fixed step."""
        i, j, k = (max(1, int(side * (1 - self.overlap))) for side in self.shape)
        return i, j, k

    def tiling(self, sides: Shape) -> Tiling:
        """Return the windows, slowest along the axis that keeps the fewest unfinished voxels."""
        i, j, k = (
            window_starts(side, window, self.overlap, self.starts)
            for side, window in zip(sides, self.shape, strict=True)
        )
        uncounted = [0, 0, 0]
        if self.blending is Blending.LAST:  # half of the overlap of two windows along each axis
            uncounted = [(side - step) // 2 for side, step in zip(self.shape, self.fixed_steps, strict=True)]
        a, b, c = uncounted
        return Tiling(sides, self.shape, (i, j, k), self._order(sides, (i, j, k)), (a, b, c))

    def cheaper(self) -> Iterator[Cheaper]:
        """Yield smaller overlaps, then the whole volume padded to a multiple that the window's sides show."""
        for overlap in OVERLAPS:
            if overlap < self.overlap:
                wider = msgspec.structs.replace(self, overlap=overlap)
                yield Cheaper(f"windows that overlap by {overlap:.0%}", wider)
        multiple = math.gcd(*self.shape, LARGEST_MULTIPLE)
        yield Cheaper("the whole volume instead of windows", WholeVolume(), multiple)

    def _order(self, sides: Shape, starts: Starting) -> tuple[int, int, int]:
        def unfinished(axis: int) -> int:
            steps = [after - before for before, after in itertools.pairwise(starts[axis])]
            kept = self.shape[axis] - min(steps, default=self.shape[axis])
            return kept * math.prod(side for other, side in enumerate(sides) if other != axis)

        # the last axis stays last where possible, because its voxels are contiguous in memory
        slow = min(range(3), key=lambda axis: (unfinished(axis), axis))
        second, last = (axis for axis in range(3) if axis != slow)
        return slow, second, last


class StridedWindows(Windowed, frozen=True, tag="strided_windows"):
    """Windows of a fixed shape at a fixed stride, of which only the core in the middle is kept.

    The cores start at 0, `stride`, 2 `stride`, ..., and the last one ends at the border (MONAI, and "stride 64" of a
    paper). A window is padded with zeros beyond the volume, on every side if its core is smaller. Overlapping cores are
    averaged with the weights of `blending`.

    Raises:
        ValueError: the core is larger than the window, is not in its middle, or leaves gaps.
    """

    stride: tuple[PositiveInt, PositiveInt, PositiveInt]
    core: tuple[PositiveInt, PositiveInt, PositiveInt]
    blending: Blending = Blending.CONSTANT

    def __post_init__(self) -> None:
        for side, step, kept in zip(self.shape, self.stride, self.core, strict=True):
            if kept > side or (side - kept) % 2:
                msg = f"expected a core in the middle of the window of {side} voxels, got a core of {kept}"
                raise ValueError(msg)
            if step > kept:
                msg = f"expected a stride of at most the core of {kept} voxels, got {step}"
                raise ValueError(msg)

    @property
    def margin(self) -> Shape:
        """Margin around the core in voxels."""
        i, j, k = ((side - kept) // 2 for side, kept in zip(self.shape, self.core, strict=True))
        return i, j, k

    def tiling(self, sides: Shape) -> Tiling:
        """Return the cores, in the order of the axes."""
        i, j, k = (strided_starts(*axis) for axis in zip(sides, self.core, self.stride, strict=True))
        return Tiling(sides, self.core, (i, j, k), (0, 1, 2))

    def cheaper(self) -> Iterator[Cheaper]:
        """Yield cores that do not overlap."""
        if self.stride != self.core:
            yield Cheaper("windows side by side", msgspec.structs.replace(self, stride=self.core))


def window_starts(side: int, window: int, overlap: float, starts: Starts | UnsetType = UNSET) -> tuple[int, ...]:
    """Return the first voxels of the windows along one axis of `side` >= `window` voxels.

    The steps are equal and at most `window * (1 - overlap)`. The first window starts at 0, and the last one ends at
    `side`. At a fixed step, the last window has a larger overlap than the others (MONAI, `_get_scan_interval` and
    `dense_patch_slices`).
    """
    span = side - window
    if span <= 0:
        return (0,)
    if starts is Starts.FIXED_STEP:
        return strided_starts(side, window, max(1, int(window * (1 - overlap))))
    count = math.ceil(span / max(1.0, window * (1.0 - overlap))) + 1
    return tuple(round(span * index / (count - 1)) for index in range(count))


def strided_starts(side: int, window: int, stride: int) -> tuple[int, ...]:
    """Return first voxels along an axis of `side` voxels: 0, `stride`, ..., and the last, which ends at the border."""
    span = side - window
    return (0,) if span <= 0 else (*range(0, span, stride), span)
