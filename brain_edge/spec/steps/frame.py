"""The value that steps pass on: channels on a grid, and the way back to the grid they came from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

import msgspec
import numpy as np

from brain_edge.image.geometry import inverse_moves
from brain_edge.image.resample import Interpolation, resize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brain_edge.image.geometry import AxisMoves, Box, Geometry
    from brain_edge.spec.steps.known_frame import KnownFrame

Value = TypeVar("Value")

Array: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]


def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


class Step(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="op",
    tag=_snake_case,
):
    """Base of every step: parameters that serialise as `{"op": ..., "version": ..., ...}`, and one function.

    Where the function changes the number of channels, or makes or needs labels, `outcome` says so of any image; where
    it looks at what earlier stages have left, `stages_used` and `label_stages` name them. A specification is checked
    with these when it is built and when it is read.

    `version` grows when the meaning of an operation changes; a package that names a version this program does
    not know is refused when it is read.
    """

    version: Literal[1] = 1

    def apply(self, frame: Frame) -> Frame:
        """The frame after this step; the frame given is not changed."""
        raise NotImplementedError(type(self).__name__)

    def outcome(self, before: KnownFrame) -> KnownFrame:
        """What `apply` makes of a frame of which only `before` is known.

        Raises:
            MisfitError: the step cannot stand here.
        """
        return before

    def stages_used(self) -> tuple[str, ...]:
        """Earlier stages whose findings the step looks at."""
        return ()

    def label_stages(self) -> tuple[str, ...]:
        """Those of them that must have left labels."""
        return ()


class Move(Protocol):
    """One change of grid, remembered so that it can be undone exactly."""

    @property
    def before(self) -> Geometry:
        """The grid before the move: where `undo` leads."""

    def undo(self, voxels: Array, interpolation: Interpolation) -> Array:
        """(C, I, J, K) on the grid after the move -> the same on the grid before it."""


@dataclass(frozen=True, eq=False)
class Frame:
    """Channels on a grid on their way through a stage.

    Attributes:
        voxels: (C, I, J, K); float32 intensities or probabilities, or uint8 labels with C = 1.
        geometry: the grid of the voxels now.
        trail: the moves made since the native grid, oldest first.
        statistics: fitted values by name, one per channel: fitted on one grid, used on another.
        findings: what earlier stages of a cascade left, by stage name.
        absent: positions, among the sequences of the model, of optional ones that were not given. `voxels` has no
            channels for them until `complete`: no statistic can be taken of what is not there.
    """

    voxels: Array
    geometry: Geometry
    trail: tuple[Move, ...] = ()
    statistics: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    findings: Mapping[str, Frame] = field(default_factory=dict)
    absent: tuple[int, ...] = ()

    def with_voxels(self, voxels: Array) -> Frame:
        """The same place with other values."""
        return replace(self, voxels=voxels)

    def moved(self, voxels: Array, geometry: Geometry, move: Move) -> Frame:
        """The frame on another grid, with the way back added to the trail."""
        return replace(self, voxels=voxels, geometry=geometry, trail=(*self.trail, move))

    def undone(self, interpolation: Interpolation) -> Frame:
        """The frame back on the native grid: every move undone, the latest first."""
        voxels, geometry = self.voxels, self.geometry
        for move in reversed(self.trail):
            voxels, geometry = move.undo(voxels, interpolation), move.before
        return replace(self, voxels=voxels, geometry=geometry, trail=())

    def present(self, values: Sequence[Value]) -> list[Value]:
        """Those of one value per sequence whose sequence is there."""
        return [value for position, value in enumerate(values) if position not in self.absent]

    def complete(self) -> Frame:
        """With zeros at the places of absent sequences, as a network must see them; the frame itself if none is."""
        if not self.absent:
            return self
        voxels = self.voxels
        for position in sorted(self.absent):
            voxels = np.insert(voxels, position, 0, axis=0)
        return replace(self, voxels=voxels, absent=())


@dataclass(frozen=True, eq=False)
class Reordered:
    """Axes permuted and flipped."""

    before: Geometry
    moves: AxisMoves

    def undo(self, voxels: Array, interpolation: Interpolation) -> Array:  # noqa: ARG002 - no values between voxels
        """Permute and flip back."""
        return reorder(voxels, inverse_moves(self.moves))


@dataclass(frozen=True, eq=False)
class Resized:
    """Resampled over the same field of view."""

    before: Geometry

    def undo(self, voxels: Array, interpolation: Interpolation) -> Array:
        """Resample to the number of voxels there was."""
        return resize(voxels, self.before.shape, interpolation)


@dataclass(frozen=True, eq=False)
class Boxed:
    """Cut to a box, or padded where the box reaches outside."""

    before: Geometry
    box: Box

    def undo(self, voxels: Array, interpolation: Interpolation) -> Array:  # noqa: ARG002 - whole voxels only
        """Put the box back at its place; what was cut away comes back as zero (background)."""
        back = [(-low, -low + side) for (low, _), side in zip(self.box, self.before.shape, strict=True)]
        return take_box(voxels, (back[0], back[1], back[2]))


def reorder(voxels: Array, moves: AxisMoves) -> Array:
    """(C, I, J, K) with spatial axes permuted and flipped; a view."""
    flips = tuple(slice(None, None, -1 if flipped else 1) for _, flipped in moves)
    return voxels.transpose(0, *(axis + 1 for axis, _ in moves))[(slice(None), *flips)]


def take_box(voxels: Array, box: Box, fill: float = 0.0) -> Array:
    """The voxels (C, I, J, K) inside `box`; where it reaches outside, `fill`. A view when nothing is filled."""
    sides = voxels.shape[1:]
    inside = [(max(low, 0), min(high, side)) for (low, high), side in zip(box, sides, strict=True)]
    cut = voxels[(slice(None), *(slice(low, max(low, high)) for low, high in inside))]
    if all(pair == want for pair, want in zip(inside, box, strict=True)):
        return cut
    filled = np.full((voxels.shape[0], *(high - low for low, high in box)), fill, dtype=voxels.dtype)
    offsets = [max(low, 0) - low for low, _ in box]
    place = (slice(at, at + n) for at, n in zip(offsets, cut.shape[1:], strict=True))
    filled[(slice(None), *place)] = cut
    return filled
