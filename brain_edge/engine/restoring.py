"""The way back to the native grid in slabs of it: see `brain_edge.spec.steps.moves` for what a slab needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.spec.steps.moves import Rest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.image.resample import Interpolation
    from brain_edge.spec.steps import Frame
    from brain_edge.spec.steps.frame import Array

SLAB_BYTES: Final = 2**26
"""Restored probabilities that are in memory at a time; a single plane where that is more."""


def can_be_restored_in_slabs(frame: Frame) -> bool:
    """Whether every move of the trail is one that can be undone for a slab."""
    return all(move.in_slabs for move in frame.trail)


def restored_slabs(frame: Frame, interpolation: Interpolation) -> Iterator[tuple[slice, Array]]:
    """`frame.undone(interpolation)` in slabs along the first native axis: planes, (C, planes, J, K).

    Equal to the whole to float32 rounding (the planes are interpolated along that axis first).
    """
    native = frame.trail[0].before if frame.trail else frame.geometry
    rest = Rest(frame.voxels, frame.trail, interpolation)
    plane_bytes = frame.voxels.dtype.itemsize * frame.voxels.shape[0] * native.shape[1] * native.shape[2]
    planes = max(1, SLAB_BYTES // plane_bytes)
    for first in range(0, native.shape[0], planes):
        last = min(first + planes, native.shape[0])
        yield slice(first, last), rest.slab(0, (first, last))
