"""Execution of a network over a volume, as data: the whole volume, slices, or noise.

Windows are in `brain_edge.spec.windowed`. The kinds are a closed union, that of `Network.execution`. The engine
computes the voxels, chosen in `brain_edge.engine.inference.probability_blocks` by a match that names each kind. All
other facts about a kind are its class attributes and methods.
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
"""Slices in the batch for tracing a graph of slices; a single slice could be mistaken for no batch."""


class Activation(StrEnum):
    """Function from the output of a graph to probabilities."""

    NONE = "none"
    """No function: the graph already ends in probabilities."""
    SOFTMAX = "softmax"
    """Softmax: channels exclude each other and sum to one."""
    SIGMOID = "sigmoid"
    """Sigmoid of each channel: overlapping regions, or one class."""


class Edge(StrEnum):
    """Replacement for the neighbours of a slice beyond the first and the last slice."""

    REPEAT = "repeat"
    """Copies of the outermost slice."""
    ZERO = "zero"
    """Zeros."""
    MIRROR = "mirror"
    """Slices mirrored at the outermost one, which is not repeated; a stack of one slice is repeated."""
    MEAN = "mean"
    """Mean of the channel over the whole volume (SPiN, "mean padding")."""


@dataclass(frozen=True)
class Cheaper:
    """A cheaper execution of the same network.

    Attributes:
        title: difference in words, such as "windows side by side".
        execution: execution that replaces the present one.
        multiple_of: multiple to which the sides of the volume must be padded first, in voxels; 1 for no padding.
    """

    title: str
    execution: Execution
    multiple_of: int = 1


class Execution(Value, frozen=True, tag_field="kind"):
    """Base of every kind of execution of a network: its facts, for a graph of `channels_in` (C) channels.

    The input of a graph is (N, C, ...): (1, C, I, J, K) of a volume or a window, (N, C, H, W) of slices.
    """

    sees_volume: ClassVar[bool] = False
    """True if the input is the volume itself, neither cut nor padded."""
    takes_any_box: ClassVar[bool] = False
    """True if a box of the image may replace the image, because only the image determines the network's input."""
    reads_image: ClassVar[bool] = True
    """True if the input is made from the image; False if the image only gives the grid."""
    averages: ClassVar[bool] = False
    """True if the output at a voxel is a mean over several inputs, which needs probabilities instead of logits."""
    is_streamed: ClassVar[bool] = False
    """True if several inputs of one volume are computed at the same time."""

    def channels_seen(self, channels: int) -> int:
        """Return the number of channels of a graph's input if the steps give `channels`."""
        return channels

    def open_shape(self, channels_in: int) -> tuple[int, ...]:
        """Return the input shape of a graph, with -1 for sides that depend on the image."""
        return (1, channels_in, -1, -1, -1)

    def example_input(self, channels_in: int, sides: Shape) -> tuple[int, ...]:
        """Return the shape of an input for tracing a graph on a volume of `sides` (I, J, K)."""
        return (1, channels_in, *sides)

    def known_input(self, channels_in: int, sides: Shape | None) -> tuple[int, ...] | None:
        """Return the input shape of a graph for the sides that the steps fix; None if it depends on the image."""
        return None if sides is None else (1, channels_in, *sides)

    def seen(self, sides: Shape) -> Shape | None:  # noqa: ARG002 - of those kinds that see no box
        """Return the sides (i, j, k) of a graph's input box for a volume of `sides`; None if its input is no box."""
        return None

    def tiling(self, sides: Shape) -> Tiling | None:  # noqa: ARG002 - of those kinds that have no windows
        """Return the windows of a volume of `sides` (I, J, K); None without windows."""
        return None

    @property
    def slice_axis(self) -> int | None:
        """Axis along which the network takes separate slices of the image; None for other kinds."""
        return None

    def cheaper(self) -> Iterator[Cheaper]:
        """Yield cheaper executions, the most similar first."""
        yield from ()


class WholeVolume(Execution, frozen=True, tag="whole_volume"):
    """The network takes the whole volume at once, of any size."""

    sees_volume: ClassVar[bool] = True
    takes_any_box: ClassVar[bool] = True

    def seen(self, sides: Shape) -> Shape:
        """Return all sides."""
        return sides


class SliceWise(Execution, frozen=True):
    """Base of the kinds that go through the volume along one axis.

    Attributes:
        axis: axis of the network's input along which the slices lie.
    """

    axis: SpatialAxis

    def batch_of(self, slices: int) -> int:
        """Return the number of slices (N) of one input, for a volume of `slices`."""
        return slices

    def reach(self) -> tuple[int, Edge]:
        """Return the number of neighbours on each side that are further channels, and their replacement at the ends."""
        return 0, Edge.REPEAT

    def drawn(self, slices: int, channels_in: int) -> FloatArray | None:  # noqa: ARG002 - of what reads the image
        """Return the numbers (slices, C) that the graph takes instead of the image; None if it takes the image."""
        return None

    def open_shape(self, channels_in: int) -> tuple[int, ...]:
        """Return a shape in which the number of slices and their sides are open."""
        return (-1, channels_in, -1, -1)

    def example_input(self, channels_in: int, sides: Shape) -> tuple[int, ...]:
        """Return the shape of a batch of two slices."""
        return self._input(EXAMPLE_SLICES, channels_in, sides)

    def known_input(self, channels_in: int, sides: Shape | None) -> tuple[int, ...] | None:
        """Return the shape of a batch of slices of a volume of `sides`."""
        return None if sides is None else self._input(self.batch_of(sides[self.axis]), channels_in, sides)

    def _input(self, count: int, channels_in: int, sides: Shape) -> tuple[int, ...]:
        return (count, channels_in, *(side for axis, side in enumerate(sides) if axis != self.axis))


class SlicesAlong(SliceWise, frozen=True, tag="slices_along"):
    """A 2D network takes the slices along an axis in batches (N, C, H, W); H and W are the other axes, in order.

    With `neighbours` (2.5D), the neighbours of a slice on each side are further channels: those of the first channel
    from the slice before to the slice after, then those of the second. The last batch is filled with zeros, so that a
    graph is compiled for one shape.

    Attributes:
        axis: axis of the network's input along which the slices lie.
        batch: maximum number of slices at a time; a volume is cut into equal batches of at most this size.
        neighbours: number of neighbours on each side.
        edge: replacement for neighbours beyond the ends; no effect without neighbours.
    """

    batch: BatchSize = 16
    neighbours: Annotated[int, Meta(ge=0, le=32)] = 0
    edge: Edge = Edge.REPEAT

    def channels_seen(self, channels: int) -> int:
        """Return the number of channels including the neighbours."""
        return channels * (2 * self.neighbours + 1)

    @property
    def slice_axis(self) -> int:
        """Axis along which the network takes slices."""
        return self.axis

    def batch_of(self, slices: int) -> int:
        """Return the size of equal batches."""
        return batch_size(slices, self.batch)

    def reach(self) -> tuple[int, Edge]:
        """Return the number of neighbours, and their replacement beyond the ends."""
        return self.neighbours, self.edge


class WholeStack(SliceWise, frozen=True, tag="whole_stack"):
    """A recurrent network takes all slices along an axis at once and in order, (T, C, H, W) -> (T, D, H, W)."""

    def example_input(self, channels_in: int, sides: Shape) -> tuple[int, ...]:
        """Return the shape of the whole stack, because tracing may unroll the recurrence."""
        return self._input(sides[self.axis], channels_in, sides)


class NoiseSlices(SliceWise, frozen=True, tag="noise_slices"):
    """A generator makes a slice (D, H, W) from `channels_in` normal numbers, (N, C); the image only gives the grid.

    The numbers are drawn from `seed` (numpy's PCG64, slice by slice), so that the same package makes the same images.
    """

    reads_image: ClassVar[bool] = False

    batch: BatchSize = 16
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0

    def open_shape(self, channels_in: int) -> tuple[int, ...]:
        """Return the shape of numbers, which have no sides."""
        return (-1, channels_in)

    def batch_of(self, slices: int) -> int:
        """Return the size of equal batches."""
        return batch_size(slices, self.batch)

    def drawn(self, slices: int, channels_in: int) -> FloatArray:
        """Draw the numbers of each slice."""
        return np.random.default_rng(self.seed).standard_normal((slices, channels_in), dtype=np.float32)

    def _input(self, count: int, channels_in: int, sides: Shape) -> tuple[int, ...]:  # noqa: ARG002
        return (count, channels_in)


def batch_size(slices: int, most: int) -> int:
    """Return the slices per batch: equal batches of at most `most`, as few as possible; the last may be filled up."""
    return -(-slices // -(-slices // most))
