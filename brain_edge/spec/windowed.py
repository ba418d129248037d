"""Networks that are run in windows, as data: how the windows lie, and how they count where they overlap."""

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
"""Of windows: what costs less than a greater overlap."""
LARGEST_MULTIPLE: Final = 32
"""What the sides of a whole volume are padded to, where windows say no less of a network: networks halve five times."""


class Blending(StrEnum):
    """How much a voxel of a window counts where windows overlap."""

    CONSTANT = "constant"
    """The same everywhere."""
    GAUSSIAN = "gaussian"
    """Less towards the border of the window, where the network has seen less (sigma = 1/8 side)."""
    GAUSSIAN_CUT = "gaussian_cut"
    """The same about voxel `side // 2`, nothing beyond four sigmas, in half precision: nnU-Net v2 to the digit."""
    GAUSSIAN_FLOOR = "gaussian_floor"
    """`gaussian` of sides whose middle lies between two voxels and so counts less than 1, but never less than 0.001:
    MONAI to the digit."""
    LAST = "last"
    """Not at all: a voxel is what the last window says that holds it, half of the overlap cut from each of its inner
    sides (TorchIO's grid aggregator, `crop`). Only with windows at a fixed step."""


class Starts(StrEnum):
    """Where windows begin."""

    FIXED_STEP = "fixed_step"
    """Every `int(side * (1 - overlap))` voxels; the last one is pushed back to the border (MONAI)."""


class Windowed(Execution, frozen=True):
    """Base of the ways that see windows of a fixed shape, whatever the image."""

    averages: ClassVar[bool] = True

    shape: tuple[PositiveInt, PositiveInt, PositiveInt]

    @property
    def margin(self) -> Shape:
        """Voxels of the input on each side of a window of the tiling, whose output does not count."""
        return 0, 0, 0

    def tiling(self, sides: Shape) -> Tiling:
        """Where the windows lie."""
        raise NotImplementedError(type(self).__name__)

    def seen(self, sides: Shape) -> Shape:  # noqa: ARG002 - whatever the image
        """A window."""
        return self.shape

    def known_input(self, channels_in: int, sides: Shape | None) -> tuple[int, ...]:  # noqa: ARG002
        """A window."""
        return (1, channels_in, *self.shape)


class SlidingWindow(Windowed, frozen=True, tag="sliding_window"):
    """The network sees windows of a fixed shape, which overlap; their outputs are averaged.

    Windows start at equal steps of at most `side * (1 - overlap)` voxels, the last one at the border
    (nnU-Net v2, `compute_steps_for_sliding_window`), unless `starts` says otherwise. A volume smaller than a window is
    padded with zeros.

    Raises:
        ValueError: the last window is to count, and windows have no fixed step.
    """

    takes_any_box: ClassVar[bool] = True
    is_streamed: ClassVar[bool] = True

    overlap: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.5
    blending: Blending = Blending.GAUSSIAN
    starts: Starts | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.blending is Blending.LAST and self.starts is not Starts.FIXED_STEP:
            raise ValueError("`blending` last needs `starts` fixed_step: the overlap that is shared must be known")

    @property
    def fixed_steps(self) -> Shape:
        """From one window to the next along each axis, in voxels, where windows begin at a fixed step."""
        i, j, k = (max(1, int(side * (1 - self.overlap))) for side in self.shape)
        return i, j, k

    def tiling(self, sides: Shape) -> Tiling:
        """Slowest along the axis that keeps the fewest unfinished voxels."""
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
        """Less overlap, then the whole volume, padded (as windows are) to what the sides of the windows show."""
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

        # the last axis stays the last where possible: along it voxels lie beside each other
        slow = min(range(3), key=lambda axis: (unfinished(axis), axis))
        second, last = (axis for axis in range(3) if axis != slow)
        return slow, second, last


class StridedWindows(Windowed, frozen=True, tag="strided_windows"):
    """Windows of a fixed shape at a fixed stride, of which only the core in the middle is kept.

    The cores start at 0, `stride`, 2 `stride`, ..., the last one ends at the border (MONAI, and "stride 64" of a
    paper); where a window reaches beyond the volume, which it does on every side when its core is smaller, it sees
    zeros. Where cores overlap, they are averaged with the weights of `blending`.

    Raises:
        ValueError: the core is larger than the window, lies off its middle, or leaves gaps.
    """

    stride: tuple[PositiveInt, PositiveInt, PositiveInt]
    core: tuple[PositiveInt, PositiveInt, PositiveInt]
    blending: Blending = Blending.CONSTANT

    def __post_init__(self) -> None:
        for side, step, kept in zip(self.shape, self.stride, self.core, strict=True):
            if kept > side or (side - kept) % 2:
                msg = f"a core of {kept} voxels does not lie in the middle of a window of {side}"
                raise ValueError(msg)
            if step > kept:
                msg = f"cores of {kept} voxels at a stride of {step} leave gaps"
                raise ValueError(msg)

    @property
    def margin(self) -> Shape:
        """Around the core."""
        i, j, k = ((side - kept) // 2 for side, kept in zip(self.shape, self.core, strict=True))
        return i, j, k

    def tiling(self, sides: Shape) -> Tiling:
        """The cores, in the order of the axes."""
        i, j, k = (strided_starts(*axis) for axis in zip(sides, self.core, self.stride, strict=True))
        return Tiling(sides, self.core, (i, j, k), (0, 1, 2))

    def cheaper(self) -> Iterator[Cheaper]:
        """Cores that do not overlap."""
        if self.stride != self.core:
            yield Cheaper("windows side by side", msgspec.structs.replace(self, stride=self.core))


def window_starts(side: int, window: int, overlap: float, starts: Starts | UnsetType = UNSET) -> tuple[int, ...]:
    """First voxels of the windows along one axis of `side` >= `window` voxels.

    Equal steps of at most `window * (1 - overlap)`; the first window starts at 0, the last one ends at `side`. At a
    fixed step the last one overlaps the one before it by more than the others do (MONAI, `_get_scan_interval` and
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
    """First voxels along an axis of `side` voxels: 0, `stride`, ..., and the last one so that it ends at the border."""
    span = side - window
    return (0,) if span <= 0 else (*range(0, span, stride), span)
