"""Run a network over a volume: whole or in windows, mirrored or not, one member or an ensemble."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Protocol

import numpy as np

from brain_edge.errors import BrainEdgeError
from brain_edge.spec import Activation, Blending, Network, SlidingWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from brain_edge.geometry import Shape
    from brain_edge.volume import FloatArray


class Session(Protocol):
    """A network that is ready to run: OpenVINO's in the runtime, PyTorch's in the parity check.

    The contract: input (1, C, I, J, K) float32, C-contiguous; output (1, D, I, J, K) float32 that the caller
    may change, valid until the next call; the same input gives the same output.
    """

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Run the network once."""


def predict(
    network: Network, sessions: Mapping[str, Session], voxels: FloatArray, tick: Callable[[], None] | None = None
) -> FloatArray:
    """Mean probabilities (D, I, J, K) of all members and mirrorings on the voxels (C, I, J, K).

    Members run one after the other, so that only one needs to be in memory; `tick` is called after each pass.

    Raises:
        BrainEdgeError: a network gives another shape than its specification says, or NaN.
    """
    total: FloatArray | None = None
    for graph, flip in itertools.product(network.graphs, network.flips):
        axes = tuple(axis + 1 for axis in flip)
        mirrored = np.flip(voxels, axes) if axes else voxels
        output = _activated(_run(network, sessions[graph], mirrored), network.activation)
        output = np.flip(output, axes) if axes else output
        if network.passes == 1:
            total = output
        else:
            # the sum keeps one array however many passes there are; the session's own array is only lent to us
            total = np.array(output) if total is None else np.add(total, output, out=total)
        if tick is not None:
            tick()
    if total is None:
        raise AssertionError("a network without passes cannot be built")
    return total if network.passes == 1 else np.divide(total, np.float32(network.passes), out=total)


def window_starts(side: int, window: int, overlap: float) -> tuple[int, ...]:
    """First voxels of the windows along one axis of `side` >= `window` voxels.

    Equal steps of at most `window * (1 - overlap)`; the first window starts at 0, the last one ends at `side`.
    """
    span = side - window
    if span <= 0:
        return (0,)
    count = int(np.ceil(span / max(1.0, window * (1.0 - overlap)))) + 1
    return tuple(round(span * index / (count - 1)) for index in range(count))


def window_weights(shape: Shape, blending: Blending) -> FloatArray:
    """How much each voxel (I, J, K) of a window counts; the centre counts 1, no voxel counts nothing.

    Gaussian with a standard deviation of an eighth of the side, as in nnU-Net; its far corners are raised to
    the least weight that float32 sums can still hold apart.
    """
    if blending is Blending.CONSTANT:
        return np.ones(shape, dtype=np.float32)
    axes = [np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (side / 8)) ** 2) for side in shape]
    weights = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    return np.asarray(np.maximum(weights / weights.max(), 1e-3), dtype=np.float32)


def _run(network: Network, session: Session, voxels: FloatArray) -> FloatArray:
    if isinstance(network.execution, SlidingWindow):
        return _run_windows(network.execution, session, voxels, network.channels_out)
    return _run_once(session, voxels, network.channels_out)


def _run_once(session: Session, voxels: FloatArray, channels_out: int) -> FloatArray:
    output = session(np.ascontiguousarray(voxels[np.newaxis], dtype=np.float32))
    expected = (1, channels_out, *voxels.shape[1:])
    if output.shape != expected:
        raise BrainEdgeError(
            f"expected {_sides(expected)} numbers from the network, got {_sides(output.shape)}: it does not give back "
            "the sides it is given (the steps must pad to a multiple) or has other channels than its specification"
        )
    if np.isnan(output.max()):
        raise BrainEdgeError("the network computed NaN (not a number); no mask can be made of that")
    return np.asarray(output[0])


def _run_windows(execution: SlidingWindow, session: Session, voxels: FloatArray, channels_out: int) -> FloatArray:
    sides = voxels.shape[1:]
    short = [(0, max(0, need - side)) for need, side in zip(execution.shape, sides, strict=True)]
    padded = np.pad(voxels, [(0, 0), *short]) if any(after for _, after in short) else voxels
    weights = window_weights(execution.shape, execution.blending)
    total = np.zeros((channels_out, *padded.shape[1:]), dtype=np.float32)
    counts = np.zeros(padded.shape[1:], dtype=np.float32)
    for place in _window_places(padded.shape[1:], execution):
        output = _run_once(session, padded[(slice(None), *place)], channels_out)
        total[(slice(None), *place)] += output * weights
        counts[place] += weights
    total /= counts
    return total[(slice(None), *(slice(0, side) for side in sides))]


def _window_places(sides: tuple[int, ...], execution: SlidingWindow) -> Iterator[tuple[slice, slice, slice]]:
    starts = [
        window_starts(side, window, execution.overlap) for side, window in zip(sides, execution.shape, strict=True)
    ]
    for first, second, third in itertools.product(*starts):
        i, j, k = execution.shape
        yield slice(first, first + i), slice(second, second + j), slice(third, third + k)


def _activated(output: FloatArray, activation: Activation) -> FloatArray:
    if activation is Activation.NONE:
        return output
    from scipy.special import expit, softmax

    return np.asarray(expit(output) if activation is Activation.SIGMOID else softmax(output, axis=0), np.float32)


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
