"""The way back to the native grid for a slab of it, without what lies before and behind.

`Frame.undone` restores all channels of the whole volume: 20 labels on 512 x 512 x 400 voxels are 8 GB of
probabilities, of which one byte per voxel is wanted. A move acts along each axis by itself, so a slab of the native
grid needs a slab of each grid on the way: all planes that its interpolation weights touch, and no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.image.geometry import inverse_moves
from brain_edge.image.resample import Interpolation, axis_weights, nearest_indices, resize
from brain_edge.spec.steps.frame import Boxed, Reordered, Resized, reorder, take_box

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brain_edge.spec.steps import Frame
    from brain_edge.spec.steps.frame import Array, Move

    Span = tuple[int, int]

SLAB_BYTES: Final = 2**26
"""Restored probabilities that are in memory at a time; a single plane where that is more."""

KNOWN_MOVES: Final = (Reordered, Resized, Boxed)


def can_be_restored_in_slabs(frame: Frame) -> bool:
    """Whether every move of the trail is one that can be undone for a slab."""
    return all(isinstance(move, KNOWN_MOVES) for move in frame.trail)


def restored_slabs(frame: Frame, interpolation: Interpolation) -> Iterator[tuple[slice, Array]]:
    """`frame.undone(interpolation)` in slabs along the first native axis: planes, (C, planes, J, K).

    Equal to the whole to float32 rounding (the planes are interpolated along that axis first).
    """
    native = frame.trail[0].before if frame.trail else frame.geometry
    plane_bytes = frame.voxels.dtype.itemsize * frame.voxels.shape[0] * native.shape[1] * native.shape[2]
    planes = max(1, SLAB_BYTES // plane_bytes)
    for first in range(0, native.shape[0], planes):
        last = min(first + planes, native.shape[0])
        yield slice(first, last), restored_slab(frame.voxels, frame.trail, 0, (first, last), interpolation)


def restored_slab(voxels: Array, trail: Sequence[Move], axis: int, span: Span, interpolation: Interpolation) -> Array:
    """The planes `span` along `axis` of the grid on which a trail begins, from the voxels (C, I, J, K) at its end."""
    if not trail:
        return voxels[(slice(None), *(slice(*span) if a == axis else slice(None) for a in range(3)))]
    move, later = trail[0], trail[1:]
    if isinstance(move, Reordered):
        target = next(new for new, (old, _) in enumerate(move.moves) if old == axis)
        side = move.before.shape[axis]
        there = (side - span[1], side - span[0]) if move.moves[target][1] else span
        return reorder(restored_slab(voxels, later, target, there, interpolation), inverse_moves(move.moves))
    if isinstance(move, Boxed):
        return _unboxed(move, _Rest(voxels, later, interpolation), axis, span)
    if isinstance(move, Resized):
        return _resized(move, _Rest(voxels, later, interpolation), axis, span)
    raise AssertionError(f"{type(move).__name__} is not among the moves that are undone in slabs")


@dataclass(frozen=True, eq=False)
class _Rest:
    """What is undone before a move: the later moves of the trail, on the voxels at its end."""

    voxels: Array
    trail: Sequence[Move]
    interpolation: Interpolation

    @property
    def sides(self) -> tuple[int, ...]:
        """Of the grid that it leads to."""
        return self.trail[0].before.shape if self.trail else self.voxels.shape[1:]

    def slab(self, axis: int, span: Span) -> Array:
        return restored_slab(self.voxels, self.trail, axis, span, self.interpolation)


def _unboxed(move: Boxed, rest: _Rest, axis: int, span: Span) -> Array:
    low, high = move.box[axis]
    inside = (max(span[0], low, 0), min(span[1], high, move.before.shape[axis]))
    shape = [span[1] - span[0] if a == axis else side for a, side in enumerate(move.before.shape)]
    if inside[0] >= inside[1]:
        return np.zeros((rest.voxels.shape[0], *shape), dtype=rest.voxels.dtype)
    slab = rest.slab(axis, (inside[0] - low, inside[1] - low))
    starts = [span[0] - inside[0] if a == axis else -move.box[a][0] for a in range(3)]
    i, j, k = ((start, start + side) for start, side in zip(starts, shape, strict=True))
    return take_box(slab, (i, j, k))


def _resized(move: Resized, rest: _Rest, axis: int, span: Span) -> Array:
    target, source, interpolation = move.before.shape, rest.sides[axis], rest.interpolation
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
        slab = _interpolated(rest.slab(axis, (first, last)), axis + 1, weights[:, first:last])
    sides = [span[1] - span[0] if a == axis else side for a, side in enumerate(target)]
    return resize(slab, sides, interpolation)


def _interpolated(slab: Array, axis: int, weights: Array) -> Array:
    """Weights (planes, touched) along one axis of (C, I, J, K)."""
    moved = np.tensordot(weights, slab, axes=(1, axis))
    return np.ascontiguousarray(np.moveaxis(moved, 0, axis), dtype=np.float32)
