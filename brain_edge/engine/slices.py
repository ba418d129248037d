"""Inference of 2D, 2.5D, recurrent and noise-driven networks over a volume: slices in, finished slabs of slices out.

The network takes slices in equal batches, so that all cores are busy and one shape is compiled. Only one batch is in
memory at a time. The slabs return at their place in the volume: in the order of the slices, whatever the network's own
order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from brain_edge.engine.windows import require_output, run_many
from brain_edge.spec import Edge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.engine.windows import Source
    from brain_edge.image.volume import FloatArray
    from brain_edge.runtime.protocol import Session
    from brain_edge.spec import Network
    from brain_edge.spec.execution import SliceWise
    from brain_edge.spec.tiling import Place

Indices: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.intp]]


def slice_blocks(
    network: Network, execution: SliceWise, session: Session, source: Source
) -> Iterator[tuple[Place, FloatArray]]:
    """Yield the output of a network slab by slab: its place (I, J, K), and the numbers (D, i, j, k) there.

    A slab is valid until the next.

    Raises:
        BrainEdgeError: the network returns another shape than its specification says, or NaN.
    """
    slices = source.sides[execution.axis]
    size = execution.batch_of(slices)
    plane = [side for axis, side in enumerate(source.sides) if axis != execution.axis]
    expected = (size, network.channels_out, *plane)
    outputs = run_many(session, _batches(network, execution, source, size))
    for first, output in zip(range(0, slices, size), outputs, strict=True):
        count = min(size, slices - first)
        slab = np.moveaxis(require_output(output, expected)[:count], 0, execution.axis + 1)
        i, j, k = (
            slice(first, first + count) if axis == execution.axis else slice(0, side)
            for axis, side in enumerate(source.sides)
        )
        yield (i, j, k), slab


def neighbouring(slices: int, wanted: Indices, edge: Edge) -> Indices:
    """Return the numbers of the slices that replace `wanted` ones, some of which lie beyond the first or the last.

    For a constant edge, the returned number of a slice beyond the ends has no meaning.
    """
    if edge is Edge.MIRROR and slices > 1:
        period = 2 * (slices - 1)
        wanted = np.abs((wanted + slices - 1) % period - (slices - 1))
    return np.asarray(np.clip(wanted, 0, slices - 1))


def _batches(network: Network, execution: SliceWise, source: Source, size: int) -> Iterator[FloatArray]:
    slices = source.sides[execution.axis]
    drawn = execution.drawn(slices, network.channels_in)
    if drawn is not None:
        yield from (_filled_up(drawn[first : first + size], size) for first in range(0, slices, size))
        return
    fill = _beyond(execution, source)
    for first in range(0, slices, size):
        yield _filled_up(_planes(execution, source, first, min(size, slices - first), fill), size)


def _planes(execution: SliceWise, source: Source, first: int, count: int, fill: FloatArray) -> FloatArray:
    """Return `count` slices from `first` on with their n neighbours on each side: (count, C * (2 n + 1), H, W)."""
    reach, edge = execution.reach()
    slices = source.sides[execution.axis]
    wanted = np.arange(first - reach, first + count + reach)
    cut = np.take(source.voxels, neighbouring(slices, wanted, edge), axis=execution.axis + 1)
    planes = np.moveaxis(source.finish(cut), execution.axis + 1, 0)
    if edge in (Edge.ZERO, Edge.MEAN):
        planes[(wanted < 0) | (wanted >= slices)] = fill
    if reach == 0:
        return planes
    shifted = [planes[offset : offset + count] for offset in range(2 * reach + 1)]
    return np.asarray(np.stack(shifted, axis=2).reshape(count, -1, *planes.shape[2:]))


def _beyond(execution: SliceWise, source: Source) -> FloatArray:
    """Return the value beyond the ends for each channel (C, 1, 1)."""
    channels = source.voxels.shape[0]
    if execution.reach()[1] is not Edge.MEAN:
        return np.zeros((channels, 1, 1), dtype=np.float32)
    means = [channel.mean(dtype=np.float64) for channel in source.finish(source.voxels)]
    return np.array(means, dtype=np.float32).reshape(channels, 1, 1)


def _filled_up(batch: FloatArray, size: int) -> FloatArray:
    """Return a batch of exactly `size`, float32 and C-contiguous; a short batch is filled with zeros at its end."""
    if batch.shape[0] == size:
        return np.ascontiguousarray(batch, dtype=np.float32)
    filled = np.zeros((size, *batch.shape[1:]), dtype=np.float32)
    filled[: batch.shape[0]] = batch
    return filled
