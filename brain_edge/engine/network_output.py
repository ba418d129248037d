"""What the output of every network must be, however it is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brain_edge.errors import BrainEdgeError

if TYPE_CHECKING:
    from brain_edge.image.volume import FloatArray


def require_output(output: FloatArray, expected: tuple[int, ...]) -> FloatArray:
    """The output of a network, where it has the shape that its specification promises and holds numbers.

    Raises:
        BrainEdgeError: another shape, or NaN.
    """
    if output.shape != expected:
        raise BrainEdgeError(
            f"expected {_sides(expected)} numbers from the network, got {_sides(output.shape)}: it does not give back "
            "the sides it is given (the steps must pad to a multiple) or has other channels than its specification"
        )
    if np.isnan(output.max()):
        raise BrainEdgeError("the network computed NaN (not a number); no mask can be made of that")
    return output


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
