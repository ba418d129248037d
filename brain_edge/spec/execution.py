"""How a network is run over a volume, as data: whole, in windows, slice by slice, as one stack, or from noise."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from brain_edge.spec.base import Value

if TYPE_CHECKING:
    from brain_edge.image.geometry import Shape

PositiveInt = Annotated[int, Meta(ge=1)]
SpatialAxis = Annotated[int, Meta(ge=0, le=2)]
BatchSize = Annotated[int, Meta(ge=1, le=1024)]


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


class Edge(StrEnum):
    """What stands for the neighbours of a slice beyond the first and the last one."""

    REPEAT = "repeat"
    """The outermost slice again."""
    ZERO = "zero"
    """Zeros."""
    MIRROR = "mirror"
    """The slices on the other side of the outermost one, which is not repeated; a stack of one slice is repeated."""
    MEAN = "mean"
    """The mean of the channel over the whole volume (SPiN, "mean padding")."""


class WholeVolume(Value, frozen=True, tag_field="kind", tag="whole_volume"):
    """The network sees the whole volume at once, whatever its size."""


class SlidingWindow(Value, frozen=True, tag_field="kind", tag="sliding_window"):
    """The network sees windows of a fixed shape, which overlap; their outputs are averaged.

    Windows start at equal steps of at most `side * (1 - overlap)` voxels, the last one at the border
    (nnU-Net v2, `compute_steps_for_sliding_window`), unless `starts` says otherwise. A volume smaller than a window is
    padded with zeros.

    Raises:
        ValueError: the last window is to count, and windows have no fixed step.
    """

    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
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


class StridedWindows(Value, frozen=True, tag_field="kind", tag="strided_windows"):
    """Windows of a fixed shape at a fixed stride, of which only the core in the middle is kept.

    The cores start at 0, `stride`, 2 `stride`, ..., the last one ends at the border (MONAI, and "stride 64" of a
    paper); where a window reaches beyond the volume, which it does on every side when its core is smaller, it sees
    zeros. Where cores overlap, they are averaged with the weights of `blending`.

    Raises:
        ValueError: the core is larger than the window, lies off its middle, or leaves gaps.
    """

    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
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


class SlicesAlong(Value, frozen=True, tag_field="kind", tag="slices_along"):
    """A 2D network sees the slices along an axis, several at a time, (N, C, H, W); H and W are the axes left, in order.

    With `neighbours` (2.5D) a slice comes with that many on each side as further channels: those of the first
    channel from the slice before to the slice after, then those of the second. The last batch is filled up with zeros,
    so that a graph is compiled for one shape.

    Attributes:
        axis: of the network's input along which the slices lie.
        batch: most slices at a time; a volume is cut into equal batches of at most this size.
        neighbours: slices on each side.
        edge: what is beyond the ends; means nothing without neighbours.
    """

    axis: SpatialAxis
    batch: BatchSize = 16
    neighbours: Annotated[int, Meta(ge=0, le=32)] = 0
    edge: Edge = Edge.REPEAT


class WholeStack(Value, frozen=True, tag_field="kind", tag="whole_stack"):
    """A recurrent network sees all slices along an axis at once and in order, (T, C, H, W) -> (T, D, H, W)."""

    axis: SpatialAxis


class NoiseSlices(Value, frozen=True, tag_field="kind", tag="noise_slices"):
    """A generator makes a slice (D, H, W) of `channels_in` normal numbers, (N, C); the input only gives the grid.

    The numbers are drawn from `seed` (numpy's PCG64, slice by slice), so that the same package makes the same images.
    """

    axis: SpatialAxis
    batch: BatchSize = 16
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0


Execution: TypeAlias = WholeVolume | SlidingWindow | StridedWindows | SlicesAlong | WholeStack | NoiseSlices


def channels_seen(execution: Execution, channels: int) -> int:
    """Channels that a graph is given where the steps give `channels`."""
    return channels * (2 * execution.neighbours + 1) if isinstance(execution, SlicesAlong) else channels


def known_input(execution: Execution, channels_in: int, sides: Shape | None) -> tuple[int, ...] | None:
    """The input shape of a graph that follows from the sides that its steps fix, or None where it depends on the image.

    Windows fix it by themselves.
    """
    if isinstance(execution, SlidingWindow | StridedWindows):
        return (1, channels_in, *execution.shape)
    if sides is None:
        return None
    if isinstance(execution, WholeVolume):
        return (1, channels_in, *sides)
    slices, plane = sides[execution.axis], [side for axis, side in enumerate(sides) if axis != execution.axis]
    if isinstance(execution, WholeStack):
        return (slices, channels_in, *plane)
    size = batch_size(slices, execution.batch)
    return (size, channels_in) if isinstance(execution, NoiseSlices) else (size, channels_in, *plane)


def batch_size(slices: int, most: int) -> int:
    """Slices per batch: as many equal batches of at most `most` as are needed; the last one may be filled up."""
    return -(-slices // -(-slices // most))
