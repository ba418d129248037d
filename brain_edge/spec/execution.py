"""How a network is run over a volume, as data: what each way states of itself, the whole volume, slices, or noise.

Windows are in `brain_edge.spec.windowed`. The ways are a closed union, that of `Network.execution`: what one does with
voxels is work of the engine, chosen in `brain_edge.engine.inference.probability_blocks` by a match that must name each.
Everything else that a program has to know of a way is here, as a class attribute or a method of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from msgspec import Meta

from brain_edge.spec.base import Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.image.geometry import Shape
    from brain_edge.image.volume import FloatArray
    from brain_edge.spec.tiling import Tiling

PositiveInt = Annotated[int, Meta(ge=1)]
SpatialAxis = Annotated[int, Meta(ge=0, le=2)]
BatchSize = Annotated[int, Meta(ge=1, le=1024)]

EXAMPLE_SLICES = 2
"""In the batch with which a graph of slices is traced: one alone could be taken for no batch."""


class Activation(StrEnum):
    """What is applied to the output of the graph to get probabilities."""

    NONE = "none"
    """Nothing: the graph already ends in probabilities."""
    SOFTMAX = "softmax"
    """Channels exclude each other and sum to one."""
    SIGMOID = "sigmoid"
    """Each channel on its own: overlapping regions, or one class."""


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


@dataclass(frozen=True)
class Cheaper:
    """A way to run the same network for less.

    Attributes:
        title: what differs, in words.
        execution: instead.
        multiple_of: what the sides of the volume are to be padded to first; 1 where to nothing.
    """

    title: str
    execution: Execution
    multiple_of: int = 1


class Execution(Value, frozen=True, tag_field="kind"):
    """Base of every way to run a network: what it states of itself, for a graph of `channels_in` (C) channels.

    The input of a graph is (N, C, ...): (1, C, I, J, K) of a volume or a window, (N, C, H, W) of slices.
    """

    sees_volume: ClassVar[bool] = False
    """The input is the volume itself: nothing is cut, and nothing is filled up around it."""
    takes_any_box: ClassVar[bool] = False
    """A box of the image may be given in its place: nothing but the image says what the network sees."""
    reads_image: ClassVar[bool] = True
    """The input is made of the image; elsewhere the image only gives the grid."""
    averages: ClassVar[bool] = False
    """The output at a voxel is a mean over several inputs, so that probabilities are needed and not logits."""
    is_streamed: ClassVar[bool] = False
    """Several inputs of one volume are computed at the same time."""

    def channels_seen(self, channels: int) -> int:
        """Channels that a graph is given where the steps give `channels`."""
        return channels

    def open_shape(self, channels_in: int) -> tuple[int, ...]:
        """The input shape of a graph, -1 where it depends on the image."""
        return (1, channels_in, -1, -1, -1)

    def example_input(self, channels_in: int, sides: Shape) -> tuple[int, ...]:
        """The shape of an input for tracing a graph on a volume of `sides` (I, J, K)."""
        return (1, channels_in, *sides)

    def known_input(self, channels_in: int, sides: Shape | None) -> tuple[int, ...] | None:
        """The input shape of a graph that follows from the sides that the steps fix; None where the image decides."""
        return None if sides is None else (1, channels_in, *sides)

    def seen(self, sides: Shape) -> Shape | None:  # noqa: ARG002 - of those kinds that see no box
        """Sides (i, j, k) of the box that a graph sees of a volume of `sides`; None where it sees no box."""
        return None

    def tiling(self, sides: Shape) -> Tiling | None:  # noqa: ARG002 - of those kinds that have no windows
        """Where the windows of a volume of `sides` lie; None where there are none."""
        return None

    @property
    def slice_axis(self) -> int | None:
        """The axis along which the network sees slices of the image, each by itself; None where it does not."""
        return None

    def cheaper(self) -> Iterator[Cheaper]:
        """What costs less, the nearest first; nothing where nothing does."""
        yield from ()


class WholeVolume(Execution, frozen=True, tag="whole_volume"):
    """The network sees the whole volume at once, whatever its size."""

    sees_volume: ClassVar[bool] = True
    takes_any_box: ClassVar[bool] = True

    def seen(self, sides: Shape) -> Shape:
        """All of it."""
        return sides


class SliceWise(Execution, frozen=True):
    """Base of the ways that go through the volume along one axis.

    Attributes:
        axis: of the network's input along which the slices lie.
    """

    axis: SpatialAxis

    def batch_of(self, slices: int) -> int:
        """Slices (N) of one input, where there are `slices`."""
        return slices

    def reach(self) -> tuple[int, Edge]:
        """Slices on each side that come along as further channels, and what is beyond the ends."""
        return 0, Edge.REPEAT

    def drawn(self, slices: int, channels_in: int) -> FloatArray | None:  # noqa: ARG002 - of what reads the image
        """What the graph is given instead of the image, (slices, C); None where it is given the image."""
        return None

    def open_shape(self, channels_in: int) -> tuple[int, ...]:
        """Neither the number of slices nor their sides are known."""
        return (-1, channels_in, -1, -1)

    def example_input(self, channels_in: int, sides: Shape) -> tuple[int, ...]:
        """A batch of two slices."""
        return self._input(EXAMPLE_SLICES, channels_in, sides)

    def known_input(self, channels_in: int, sides: Shape | None) -> tuple[int, ...] | None:
        """A batch of slices of a volume of `sides`."""
        return None if sides is None else self._input(self.batch_of(sides[self.axis]), channels_in, sides)

    def _input(self, count: int, channels_in: int, sides: Shape) -> tuple[int, ...]:
        return (count, channels_in, *(side for axis, side in enumerate(sides) if axis != self.axis))


class SlicesAlong(SliceWise, frozen=True, tag="slices_along"):
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

    batch: BatchSize = 16
    neighbours: Annotated[int, Meta(ge=0, le=32)] = 0
    edge: Edge = Edge.REPEAT

    def channels_seen(self, channels: int) -> int:
        """Those of the neighbours too."""
        return channels * (2 * self.neighbours + 1)

    @property
    def slice_axis(self) -> int:
        """The axis."""
        return self.axis

    def batch_of(self, slices: int) -> int:
        """Equal batches."""
        return batch_size(slices, self.batch)

    def reach(self) -> tuple[int, Edge]:
        """The neighbours."""
        return self.neighbours, self.edge


class WholeStack(SliceWise, frozen=True, tag="whole_stack"):
    """A recurrent network sees all slices along an axis at once and in order, (T, C, H, W) -> (T, D, H, W)."""

    def example_input(self, channels_in: int, sides: Shape) -> tuple[int, ...]:
        """The whole stack, because tracing may unroll the recurrence."""
        return self._input(sides[self.axis], channels_in, sides)


class NoiseSlices(SliceWise, frozen=True, tag="noise_slices"):
    """A generator makes a slice (D, H, W) of `channels_in` normal numbers, (N, C); the input only gives the grid.

    The numbers are drawn from `seed` (numpy's PCG64, slice by slice), so that the same package makes the same images.
    """

    reads_image: ClassVar[bool] = False

    batch: BatchSize = 16
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0

    def open_shape(self, channels_in: int) -> tuple[int, ...]:
        """Numbers have no sides."""
        return (-1, channels_in)

    def batch_of(self, slices: int) -> int:
        """Equal batches."""
        return batch_size(slices, self.batch)

    def drawn(self, slices: int, channels_in: int) -> FloatArray:
        """The numbers of each slice."""
        return np.random.default_rng(self.seed).standard_normal((slices, channels_in), dtype=np.float32)

    def _input(self, count: int, channels_in: int, sides: Shape) -> tuple[int, ...]:  # noqa: ARG002
        return (count, channels_in)


def batch_size(slices: int, most: int) -> int:
    """Slices per batch: as many equal batches of at most `most` as are needed; the last one may be filled up."""
    return -(-slices // -(-slices // most))
