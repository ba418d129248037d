"""Changes of grid, each recorded with its way back, for the whole volume or for a single slab.

Undoing the moves of a frame restores all channels of the whole volume: 20 labels on 512 x 512 x 400 voxels are 8 GB of
probabilities, but the result is one byte per voxel. A move that acts along each axis separately can restore a slab of
its native grid from exactly those planes that the slab's interpolation weights touch on the grid after the move.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np

from brain_edge.image.geometry import inverse_moves
from brain_edge.image.resample import Interpolation, axis_weights, nearest_indices, resize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.image.geometry import AxisMoves, Box, Geometry
    from brain_edge.spec.steps.frame import Array

Span: TypeAlias = tuple[int, int]
"""Planes along one axis: the first, and the one after the last."""


@dataclass(frozen=True, eq=False)
class Move:
    """One change of grid, recorded so that it can be undone exactly.

    Attributes:
        before: grid before the move, to which `undo` leads.
    """

    in_slabs: ClassVar[bool] = False
    """True if the move can be undone for a slab, with `undo_slab`."""

    before: Geometry

    def undo(self, voxels: Array, interpolation: Interpolation) -> Array:
        """Map (C, I, J, K) on the grid after the move to the grid before the move."""
        raise NotImplementedError(type(self).__name__)

    def undo_slab(self, rest: Rest, axis: int, span: Span) -> Array:
        """Return the planes `span` along `axis` of the grid before the move, (C, i, j, k); equal to `undo` to rounding.

        Args:
            rest: source of any slab of the grid after the move.
            axis: axis of the grid before the move.
            span: range of planes, not empty and inside that grid.
        """
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True, eq=False)
class Rest:
    """Source of slabs of the grid at the beginning of a trail of moves, from the voxels (C, I, J, K) at its end."""

    voxels: Array
    trail: Sequence[Move]
    interpolation: Interpolation

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the grid at the beginning of the trail."""
        return self.trail[0].before.shape if self.trail else self.voxels.shape[1:]

    def slab(self, axis: int, span: Span) -> Array:
        """Return the planes `span` along `axis`, (C, i, j, k)."""
        if not self.trail:
            return self.voxels[(slice(None), *(slice(*span) if a == axis else slice(None) for a in range(3)))]
        return self.trail[0].undo_slab(Rest(self.voxels, self.trail[1:], self.interpolation), axis, span)


@dataclass(frozen=True, eq=False)
class Reordered(Move):
    """Permutation and flips of axes."""

    in_slabs: ClassVar[bool] = True

    moves: AxisMoves

    def undo(self, voxels: Array, interpolation: Interpolation) -> Array:  # noqa: ARG002 - no values between voxels
        """Permute and flip back."""
        return reorder(voxels, inverse_moves(self.moves))

    def undo_slab(self, rest: Rest, axis: int, span: Span) -> Array:
        """Return the slab from the axis that `axis` became."""
        target = next(new for new, (old, _) in enumerate(self.moves) if old == axis)
        side = self.before.shape[axis]
        there = (side - span[1], side - span[0]) if self.moves[target][1] else span
        return reorder(rest.slab(target, there), inverse_moves(self.moves))


@dataclass(frozen=True, eq=False)
class Resized(Move):
    """Resampling over the same field of view."""

    in_slabs: ClassVar[bool] = True

    def undo(self, voxels: Array, interpolation: Interpolation) -> Array:
        """Resample to the number of voxels before the move."""
        return resize(voxels, self.before.shape, interpolation)

    def undo_slab(self, rest: Rest, axis: int, span: Span) -> Array:
        """Return the slab from all planes that its weights touch; the other axes are resampled as a whole."""
        target, source, interpolation = self.before.shape, rest.sides[axis], rest.interpolation
        if source == target[axis]:
            slab = rest.slab(axis, span)
        elif interpolation is Interpolation.NEAREST:
            indices = nearest_indices(source, target[axis])[slice(*span)]
            first = int(indices[0])
            slab = np.take(rest.slab(axis, (first, int(indices[-1]) + 1)), indices - first, axis=axis + 1)
        else:
            weights = axis_weights(source, target[axis], interpolation)[slice(*span)]
            touched = np.flatnonzero(weights.any(axis=0))
            first, last = int(touched[0]), int(touched[-1]) + 1
            planes = np.tensordot(weights[:, first:last], rest.slab(axis, (first, last)), axes=(1, axis + 1))
            slab = np.ascontiguousarray(np.moveaxis(planes, 0, axis + 1), dtype=np.float32)
        sides = [span[1] - span[0] if a == axis else side for a, side in enumerate(target)]
        return resize(slab, sides, interpolation)


@dataclass(frozen=True, eq=False)
class Boxed(Move):
    """Cut to a box, with padding where the box extends outside."""

    in_slabs: ClassVar[bool] = True

    box: Box

    def undo(self, voxels: Array, interpolation: Interpolation) -> Array:  # noqa: ARG002 - whole voxels only
        """Put the box back at its place; voxels that were cut away become zero (background)."""
        back = [(-low, -low + side) for (low, _), side in zip(self.box, self.before.shape, strict=True)]
        return take_box(voxels, (back[0], back[1], back[2]))

    def undo_slab(self, rest: Rest, axis: int, span: Span) -> Array:
        """Return the planes inside the box, and zeros for planes outside."""
        low, high = self.box[axis]
        inside = (max(span[0], low, 0), min(span[1], high, self.before.shape[axis]))
        shape = [span[1] - span[0] if a == axis else side for a, side in enumerate(self.before.shape)]
        if inside[0] >= inside[1]:
            return np.zeros((rest.voxels.shape[0], *shape), dtype=rest.voxels.dtype)
        slab = rest.slab(axis, (inside[0] - low, inside[1] - low))
        starts = [span[0] - inside[0] if a == axis else -self.box[a][0] for a in range(3)]
        i, j, k = ((start, start + side) for start, side in zip(starts, shape, strict=True))
        return take_box(slab, (i, j, k))


def reorder(voxels: Array, moves: AxisMoves) -> Array:
    """Return (C, I, J, K) with permuted and flipped spatial axes, as a view."""
    flips = tuple(slice(None, None, -1 if flipped else 1) for _, flipped in moves)
    return voxels.transpose(0, *(axis + 1 for axis, _ in moves))[(slice(None), *flips)]


def take_box(voxels: Array, box: Box, fill: float = 0.0) -> Array:
    """Return the voxels (C, I, J, K) inside `box`, with `fill` outside of the volume; a view if nothing is filled."""
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
