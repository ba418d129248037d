"""One output of a network that returns several (deep supervision, auxiliary heads): the one that a recipe names.

Only PyTorch knows the structure of what a network returns: OpenVINO's converter loses the names of a list and does not
keep the order of nested ones. So the choice is made before tracing, and what leads to the other outputs alone is never
traced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import nn

from brain_edge.errors import BrainEdgeError

Key: TypeAlias = int | str


class OneOutput(nn.Module):
    """A network that returns the output `key` of another: a position in its list, or a name in its dictionary."""

    def __init__(self, network: nn.Module, key: Key) -> None:
        super().__init__()
        self.network = network
        self.key = key

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The chosen output.

        Raises:
            BrainEdgeError: there is no such output.
        """
        returned = self.network(x)
        try:
            chosen = returned[self.key]
        except (KeyError, IndexError, TypeError) as error:
            raise self._missing(returned) from error
        # a tensor takes an index too, and would give away its batch axis
        if isinstance(returned, torch.Tensor) or not isinstance(chosen, torch.Tensor):
            raise self._missing(returned)
        return chosen

    def _missing(self, returned: object) -> BrainEdgeError:
        return BrainEdgeError(
            f"expected the output {self.key!r} of {type(self.network).__name__}, which returns "
            f"{describe_outputs(returned)}; correct `output` in the recipe"
        )


def with_one_output(network: nn.Module, key: Key | None) -> nn.Module:
    """The network itself where no output is named."""
    return network if key is None else OneOutput(network, key)


def describe_outputs(returned: object) -> str:
    """Names or positions and shapes of what a network returned, in words."""
    if isinstance(returned, torch.Tensor):
        return f"one tensor ({_shape(returned)})"
    if isinstance(returned, Mapping):
        return ", ".join(f"{name!r} ({_shape(value)})" for name, value in returned.items())
    if isinstance(returned, list | tuple):
        return ", ".join(f"{position} ({_shape(value)})" for position, value in enumerate(returned))
    return f"a {type(returned).__name__}"


def _shape(value: object) -> str:
    return " x ".join(map(str, value.shape)) if isinstance(value, torch.Tensor) else type(value).__name__
