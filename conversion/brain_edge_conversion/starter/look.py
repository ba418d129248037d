"""Facts about a network that nobody has described, found by running it on noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from brain_edge.errors import WeightsError
from brain_edge.spec import Activation
from brain_edge_conversion.convert.rewrites.outputs import OneOutput, only_output
from brain_edge_conversion.convert.sizes import SMALL
from brain_edge_conversion.convert.taken import output_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from brain_edge.image.volume import FloatArray
    from brain_edge_conversion.sources import BareNetwork

SIDES: Final = (64, 96, 128, 32, 48, 80, 112, 160, 192, 224, 256)
"""Sides that are tried, voxels; patches of published networks."""
MULTIPLES: Final = dict(zip((1, 2, 4, 8, 16, 32), SMALL, strict=True))
"""Multiple -> sides whose only common power of two it is."""
MOST_CHANNELS: Final = 4
"""Largest number of channels that is tried if no weight shows it."""
STRENGTH: Final = 3.0
"""Deviation of the noise; logits of weak noise could lie between 0 and 1 by chance."""
ROUNDING: Final = 1e-4


@dataclass(frozen=True)
class NetworkFacts:
    """Facts about a network.

    Attributes:
        channels_in, channels_out: number of input and output channels.
        ends_in: function that the network itself ends in, as far as its output on noise shows.
        sides: spatial sides that the network takes: three for volumes, two for slices.
        multiple: smallest number whose multiples the network takes as sides; None if it takes `sides` alone.
    """

    channels_in: int
    channels_out: int
    ends_in: Activation
    sides: tuple[int, ...]
    multiple: int | None

    @property
    def takes_slices(self) -> bool:
        """True for a 2D network."""
        return len(self.sides) == 2

    @property
    def in_words(self) -> tuple[str, ...]:
        """The facts in words, one line each."""
        sides = "any size" if self.multiple == 1 else f"sides that are multiples of {self.multiple}"
        if self.multiple is None:
            sides = _in_words(self.sides)
        ending = "no activation (logits)" if self.ends_in is Activation.NONE else f"a {self.ends_in}"
        return (
            f"{self.channels_in} input and {self.channels_out} output channels",
            f"{'slices' if self.takes_slices else 'volumes'}: {sides}",
            f"the network ends in {ending}",
        )


def look_at(bare: BareNetwork) -> NetworkFacts:
    """Run a network on noise until it takes an input, then on other sizes.

    Raises:
        WeightsError: the network takes no input that was tried, or changes the size of its input.
        BrainEdgeError: the network returns several tensors.
    """
    tried = []
    for shape in _shapes(bare):
        module = _one_output(bare.module, shape)
        output = None if module is None else output_on(module, _noise(shape))
        if module is not None and output is not None:
            _require_same_size(output, shape)
            return NetworkFacts(shape[1], output.shape[1], _ending(output), shape[2:], _multiple(module, shape))
        tried.append(_in_words(shape))
    raise WeightsError(
        f"expected a network that takes one of {len(tried)} inputs that were tried, such as {tried[0]}, got errors; "
        "write the specification by hand"
    )


def _require_same_size(output: FloatArray, shape: tuple[int, ...]) -> None:
    if output.shape[2:] != shape[2:]:
        raise WeightsError(
            f"expected an output of the size of the input, got {_in_words(output.shape)} for {_in_words(shape)}; wrap "
            "the network so that it returns every voxel"
        )


def _in_words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _shapes(bare: BareNetwork) -> Iterator[tuple[int, ...]]:
    """Yield inputs (1, C, ...) to try: the stated shape, else those that the first convolution suggests."""
    if len(bare.input_shape) > 3:
        stated = bare.input_shape[1:]
        for side in SIDES:
            yield (1, *(each if each > 0 else 1 if place == 0 else side for place, each in enumerate(stated)))
        return
    kernels = [tensor for tensor in bare.module.state_dict().values() if tensor.ndim in (4, 5)]
    dimensions = (kernels[0].ndim - 2,) if kernels else (3, 2)
    channels = (int(kernels[0].shape[1]),) if kernels else range(1, MOST_CHANNELS + 1)
    yield from ((1, count, *[side] * space) for space in dimensions for count in channels for side in SIDES)


def _one_output(module: nn.Module, shape: tuple[int, ...]) -> nn.Module | None:
    """Return a network that returns one tensor for noise of a shape; None if it does not take the shape."""
    try:
        with torch.no_grad():
            returned = module(torch.from_numpy(_noise(shape)))
    except Exception:  # noqa: BLE001 - third-party code may raise anything, and the failure is the answer
        return None
    key = only_output(module, returned)
    return module if key is None else OneOutput(module, key)


def _same_size(module: nn.Module, shape: tuple[int, ...]) -> FloatArray | None:
    """Return the output on noise; None if the network does not take the shape or changes its size."""
    output = output_on(module, _noise(shape))
    return output if output is not None and output.shape[2:] == shape[2:] else None


def _noise(shape: tuple[int, ...]) -> FloatArray:
    return np.random.default_rng(0).standard_normal(shape, np.float32) * np.float32(STRENGTH)


def _ending(output: FloatArray) -> Activation:
    """Return the activation whose range and sum an output (N, C, ...) has."""
    if output.min() < 0 or output.max() > 1 + ROUNDING:
        return Activation.NONE
    is_share = output.shape[1] > 1 and bool(np.allclose(output.sum(axis=1), 1, atol=ROUNDING))
    return Activation.SOFTMAX if is_share else Activation.SIGMOID


def _multiple(module: nn.Module, shape: tuple[int, ...]) -> int | None:
    """Return the smallest number whose multiples the network takes; None if it takes no other size."""
    space = len(shape) - 2
    for multiple, sides in MULTIPLES.items():
        if _same_size(module, (*shape[:2], *sides[:space])) is not None:
            return multiple
    return None
