"""Inference of the networks of a stage: whole or in windows, mirrored or not, one member or an ensemble."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, assert_never

import numpy as np
from msgspec import UNSET

from brain_edge.engine.slices import slice_blocks
from brain_edge.engine.windows import Source, require_output, window_blocks
from brain_edge.spec import (
    Activation,
    Network,
    NoiseSlices,
    SlicesAlong,
    SlidingWindow,
    StridedWindows,
    WholeStack,
    WholeVolume,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TypeAlias

    from brain_edge.image.volume import FloatArray
    from brain_edge.runtime.protocol import Session
    from brain_edge.spec.tiling import Place

    See: TypeAlias = Callable[[int, Place, FloatArray], None]
    """Function that receives the number of a pass, a place (I, J, K), and the probabilities (D, i, j, k) there."""

BLOCK_BYTES: Final = 2**24
"""Bytes of probabilities processed at a time: small against a server's caches, large against Python's overhead."""


def predict(
    network: Network,
    sessions: Mapping[str, Session],
    voxels: FloatArray | Source,
    tick: Callable[[], None] | None = None,
    see: See | None = None,
) -> FloatArray:
    """Return the weighted mean probabilities (D, I, J, K) of all members and mirrorings on the voxels (C, I, J, K).

    Members run one after the other, so that only one needs to be in memory. `tick` is called after each pass. If there
    are several passes, `see` receives each block of each pass: the number of the pass, the place, the probabilities.

    Raises:
        BrainEdgeError: a network returns another shape than its specification says, or NaN.
    """
    source = voxels if isinstance(voxels, Source) else Source(voxels)
    if network.passes == 1 and network.execution.sees_volume:
        return _whole_pass(network, sessions, source, tick)
    total = np.empty((network.channels_out, *source.sides), dtype=np.float32)
    members = itertools.product(zip(network.graphs, member_shares(network), strict=True), network.flips)
    for number, ((graph, share), flip) in enumerate(members):
        # the sum keeps one array for any number of passes; each pass arrives block by block
        mirrored = np.flip(total, tuple(axis + 1 for axis in flip)) if flip else total
        for place, block in probability_blocks(network, sessions[graph], source.mirrored(flip)):
            here = mirrored[(slice(None), *place)]
            counted = block if share == 1 else block * share
            np.copyto(here, counted) if number == 0 else np.add(here, counted, out=here)
            if see is not None:
                see(number, *_unmirrored(place, block, source.sides, flip))
        if tick is not None:
            tick()
    return total if network.passes == 1 else np.divide(total, np.float32(network.passes), out=total)


def member_shares(network: Network) -> list[np.float32]:
    """Return the weight of each graph's output in the mean, 1 on average; exactly 1 if all weights are equal."""
    if network.member_weights is UNSET:
        return [np.float32(1)] * len(network.graphs)
    weights = np.array(network.member_weights)
    return list((weights / weights.mean()).astype(np.float32))


def predicted_blocks(
    network: Network,
    sessions: Mapping[str, Session],
    source: Source,
    tick: Callable[[], None] | None = None,
    see: See | None = None,
) -> Iterator[tuple[Place, FloatArray]]:
    """Yield the result of `predict` in blocks: places (I, J, K) that cover the volume once, and (D, i, j, k) there.

    A block is valid until the next. With a single pass, the probabilities of the whole volume never exist. With
    several passes they are in memory, and the blocks are views.
    """
    if network.passes > 1:
        yield from _slabs(predict(network, sessions, source, tick, see))
        return
    (graph,), (flip,) = network.graphs, network.flips
    for place, block in probability_blocks(network, sessions[graph], source.mirrored(flip)):
        yield _unmirrored(place, block, source.sides, flip)
    if tick is not None:
        tick()


def probability_blocks(network: Network, session: Session, source: Source) -> Iterator[tuple[Place, FloatArray]]:
    """Yield the probabilities of one pass of one member, block by block."""
    execution = network.execution
    match execution:
        case WholeVolume():
            blocks = _slabs(_checked(session(source.whole_of(session)), network.channels_out, source.sides))
        case SlidingWindow() | StridedWindows():
            blocks = window_blocks(execution, network.channels_out, session, source)
        case SlicesAlong() | WholeStack() | NoiseSlices():
            blocks = slice_blocks(network, execution, session, source)
        case _:
            assert_never(execution)
    for place, block in blocks:
        yield place, activated(block, network.activation)


def activated(output: FloatArray, activation: Activation) -> FloatArray:
    """Return the probabilities of a graph's output (D, I, J, K)."""
    if activation is Activation.NONE:
        return output
    from scipy.special import expit, softmax

    return np.asarray(expit(output) if activation is Activation.SIGMOID else softmax(output, axis=0), np.float32)


def _whole_pass(
    network: Network, sessions: Mapping[str, Session], source: Source, tick: Callable[[], None] | None
) -> FloatArray:
    """Run a single pass over the whole volume; without further processing, the result is the session's own array."""
    (graph,), (flip,) = network.graphs, network.flips
    mirrored = source.mirrored(flip)
    session = sessions[graph]
    batch = _checked(session(mirrored.whole_of(session)), network.channels_out, source.sides)
    output = activated(batch, network.activation)
    if tick is not None:
        tick()
    return np.flip(output, tuple(axis + 1 for axis in flip)) if flip else output


def _slabs(volume: FloatArray) -> Iterator[tuple[Place, FloatArray]]:
    """Yield a volume (D, I, J, K) in slabs along I."""
    side = volume.shape[1]
    planes = max(1, BLOCK_BYTES // max(1, volume.nbytes // side))
    for first in range(0, side, planes):
        last = min(first + planes, side)
        yield (slice(first, last), slice(0, volume.shape[2]), slice(0, volume.shape[3])), volume[:, first:last]


def _unmirrored(
    place: Place, block: FloatArray, sides: tuple[int, int, int], flip: tuple[int, ...]
) -> tuple[Place, FloatArray]:
    """Return the place of a mirrored volume's block in the original volume, and the block in that orientation."""
    spans = [
        slice(side - span.stop, side - span.start) if axis in flip else span
        for axis, (span, side) in enumerate(zip(place, sides, strict=True))
    ]
    return (spans[0], spans[1], spans[2]), np.flip(block, tuple(axis + 1 for axis in flip))


def _checked(batch: FloatArray, channels_out: int, sides: tuple[int, ...]) -> FloatArray:
    """Return the output (D, I, J, K) of a network after `require_output`."""
    return np.asarray(require_output(batch, (1, channels_out, *sides))[0])
