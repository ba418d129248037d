"""Crops of network inputs: one for each step of a training, drawn from a seed and the number of the step alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brain_edge_conversion.mending.watching import sized

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brain_edge.image.volume import FloatArray

SIDES: Final = (96, 64, 32)
"""Sides of a crop that are tried, largest first; the largest one whose activations fit is taken."""
SLICES: Final = 2
"""Slices of a stack that are taken at a time."""
ACTIVATIONS_BYTES: Final = 768 * 2**20
"""Largest sum of all activations of a crop, bytes. Training holds about twice as much."""
FLOAT_BYTES: Final = 4
MARGIN: Final = 8
"""A side that was cut loses this fraction of the crop, 1/8, in the comparison: padding replaces the image there."""
TRIES: Final = 8
"""Positions that are drawn for a crop with contrast."""

Window = tuple[slice, ...]


@dataclass(frozen=True)
class Crop:
    """Part of an input.

    Attributes:
        image: values, (N, C, ...).
        compared: window of the output that is compared, for all axes.
    """

    image: FloatArray
    compared: Window


def crop_shape(model: Any, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the crops of inputs of one shape; sides that the model fixes stay whole.

    Args:
        model: float model.
        shape: shape of the inputs, (N, C, ...).
    """
    tried = [_cut(model, shape, side) for side in SIDES]
    fitting = (each for each in tried if _activation_bytes(model, each) <= ACTIVATIONS_BYTES)
    return next(fitting, tried[-1])


def _cut(model: Any, shape: Sequence[int], side: int) -> tuple[int, ...]:
    """Return a shape of at most `side` along each open spatial axis, and of at most `SLICES` along an open batch."""
    most = (SLICES, math.inf, *[side] * (len(shape) - 2))
    is_open = [axis.is_dynamic for axis in model.inputs[0].partial_shape]
    return tuple(
        int(min(have, limit)) if loose else have for have, limit, loose in zip(shape, most, is_open, strict=True)
    )


def _activation_bytes(model: Any, shape: Sequence[int]) -> int:
    nodes = sized(model, shape).get_ordered_ops()
    return sum(FLOAT_BYTES * math.prod(node.get_output_shape(0)) for node in nodes if node.get_output_size())


def crop_at(step: int, file: Path, shape: Sequence[int], seed: int) -> Crop:
    """Return the crop of one step.

    Args:
        step: number of the step.
        file: `.npy` file of an input.
        shape: shape of the crop.
        seed: seed of the positions.
    """
    whole = np.load(file, mmap_mode="r", allow_pickle=False)
    random = np.random.default_rng([seed, step])
    for _ in range(TRIES):
        starts = [int(random.integers(0, have - side + 1)) for have, side in zip(whole.shape, shape, strict=True)]
        window = tuple(slice(start, start + side) for start, side in zip(starts, shape, strict=True))
        image = np.array(whole[window])  # a copy in memory, off the file
        if image.min() < image.max():
            break
    return Crop(image, _compared(window, whole.shape))


def _compared(window: Window, shape: Sequence[int]) -> Window:
    """Return the part of a crop that is compared: without the margins of the sides that were cut."""
    found = [slice(None), slice(None)]
    for axis, have in list(zip(window, shape, strict=True))[2:]:
        side = axis.stop - axis.start
        low, high = (side // MARGIN if is_cut else 0 for is_cut in (axis.start > 0, axis.stop < have))
        found.append(slice(low, side - high))
    return tuple(found)
