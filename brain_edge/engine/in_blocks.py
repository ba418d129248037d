"""Steps on the whole volume: voxel-wise steps that follow each other make one pass over it, block by block.

One step after the other would write the volume once per operation, and memory that is new to the process costs more
than the arithmetic. A block stays in the caches from the first step to the last, and takes the place of the block that
it was made from, unless the image itself lies there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.spec.steps.step import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    from brain_edge.spec.steps import BeforeStep, Frame
    from brain_edge.spec.steps.frame import Array

    Place: TypeAlias = tuple[slice, ...]

BLOCK_BYTES: Final = 2**18
"""Bytes of a block, at least one plane: an input and two results fit into the second-level cache of a core."""


def applied(steps: Sequence[BeforeStep], frame: Frame) -> Frame:
    """Return the frame after all steps: to the bit and in the memory order of one step after the other.

    The voxels of the given frame, and of what earlier stages found, stay as they are.
    """
    kept = [frame.voxels, *(found.voxels for found in frame.findings.values())]
    for run in _runs(steps):
        if run[0].scope is Scope.VOLUME:
            frame = run[0].apply(frame)
        else:
            is_own = not any(np.may_share_memory(frame.voxels, voxels) for voxels in kept)
            frame = _applied_in_blocks(run, frame, in_place=is_own and frame.voxels.flags.writeable)
    return frame


def _runs(steps: Sequence[BeforeStep]) -> Iterator[Sequence[BeforeStep]]:
    """Yield the steps in order: a step of the whole volume alone, other steps with the voxel-wise ones after them."""
    first = 0
    for last, step in enumerate(steps[1:], 1):
        if step.scope is not Scope.VOXEL or steps[first].scope is Scope.VOLUME:
            yield steps[first:last]
            first = last
    if steps:
        yield steps[first:]


def _applied_in_blocks(steps: Sequence[BeforeStep], frame: Frame, *, in_place: bool) -> Frame:
    finishers, voxels = [step.fitted(frame) for step in steps], frame.voxels

    def finished(place: Place) -> Array:
        block = voxels[place]
        for finish in finishers:
            block = finish(block)
        return block

    places = list(_places(voxels))
    first = finished(places[0])
    shape = (first.shape[0], *voxels.shape[1:])
    fits = in_place and (first.dtype, shape) == (voxels.dtype, voxels.shape)
    found = voxels if fits else np.empty_like(voxels, dtype=first.dtype, shape=shape)
    found[places[0]] = first
    for place in places[1:]:
        found[place] = finished(place)
    return frame.with_voxels(found)


def _places(voxels: Array) -> Iterator[Place]:
    """Yield blocks of whole planes, as indices, along the spatial axis that is slowest in memory."""
    axis = 1 + int(np.argmax(np.abs(voxels.strides[1:])))
    side = voxels.shape[axis]
    planes = max(1, BLOCK_BYTES * side // voxels.nbytes)
    for start in range(0, side, planes):
        yield (*[slice(None)] * axis, slice(start, start + planes))
