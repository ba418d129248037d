"""Input sizes that a PyTorch network takes, found by running the network on noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge_conversion.convert.failures import reason_in, remedy_for

if TYPE_CHECKING:
    from torch import nn

    from brain_edge.image.volume import FloatArray

MULTIPLES: Final = (2, 4, 8, 16, 32, 64)
"""Multiples that networks require of their input sides: one factor of 2 for each halving."""
STEPS: Final = "Correct the steps before the network, or give the network that the steps describe"
LEAST_SIDE: Final = 32
"""Smallest side that is tried; deeper levels of a smaller volume have too few voxels for a norm."""


def takes(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Return True if a network runs on noise of a shape (N, C, ...)."""
    return output_on(module, np.random.default_rng(0).standard_normal(shape, dtype=np.float32)) is not None


def output_on(module: nn.Module, batch: FloatArray) -> FloatArray | None:
    """Return a network's output (N, C, ...) on a batch (N, C, ...), or None where the network does not take it."""
    import torch

    # a copy of its own: a network may change its input in place
    own = torch.from_numpy(np.array(batch, dtype=np.float32, order="C"))
    try:
        with torch.no_grad():
            output = module(own)
    except Exception:  # noqa: BLE001 - third-party code may raise anything, and the failure is the answer
        return None
    return np.asarray(output.numpy(), dtype=np.float32)


def least_multiple(module: nn.Module, shape: tuple[int, ...]) -> int | None:
    """Return the smallest number that does not divide all sides of `shape` and whose odd multiples the network takes.

    None if there is no such number.
    """
    for multiple in MULTIPLES:
        if all(side % multiple == 0 for side in shape[2:]):
            continue
        sides = [
            multiple * (-(-LEAST_SIDE // multiple) // 2 * 2 + 1 + 2 * (axis == 1)) for axis in range(len(shape) - 2)
        ]
        if takes(module, (*shape[:2], *sides)):
            return multiple
    return None


def size_in_words(shape: tuple[int, ...]) -> str:
    """Return the spatial sides of (N, C, ...) in words."""
    return " x ".join(map(str, shape[2:]))


def refusal(module: nn.Module, shape: tuple[int, ...], error: Exception) -> str:
    """Return the error about a size that the steps give and the network does not take, with the step that helps."""
    size, multiple = size_in_words(shape), least_multiple(module, shape)
    if multiple is None:
        return (
            f"the network does not take {size}, which the steps give for this head ({reason_in(error)}). "
            f"{remedy_for(error, STEPS)}"
        )
    return (
        f"the network does not take {size}, which the steps give for this head: "
        f"add pad_to_multiple (tried: {multiple}) as the last step before the network"
    )
