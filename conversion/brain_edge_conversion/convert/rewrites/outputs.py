"""One output of a network that returns several (deep supervision, auxiliary heads): the one that a recipe names.

Only PyTorch knows the structure of what a network returns: OpenVINO's converter loses the names of a list and does not
keep the order of nested ones. So the choice is made before tracing, and what leads to the other outputs alone is never
traced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias, cast

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


def as_traced(network: nn.Module) -> nn.Module:
    """What the converter is given: of TorchScript the program, whose one output it finds, but not below a module."""
    is_script = isinstance(network, OneOutput) and isinstance(network.network, torch.jit.ScriptModule)
    return cast("OneOutput", network).network if is_script else network


def only_output(network: nn.Module, returned: object) -> Key | None:
    """Where the one tensor is that a network returned in a list, a tuple or a dictionary; None where it is all.

    Raises:
        BrainEdgeError: it is not one tensor.
    """
    if isinstance(returned, torch.Tensor):
        return None
    pairs = returned.items() if isinstance(returned, Mapping) else ()
    found = [(key, each) for key, each in pairs or _numbered(returned) if each is not None]
    if len(found) == 1 and isinstance(found[0][0], int | str) and isinstance(found[0][1], torch.Tensor):
        return found[0][0]
    raise several_outputs(network, returned)


def _numbered(returned: object) -> Iterable[tuple[int, object]]:
    return enumerate(returned) if isinstance(returned, list | tuple) else ()


def several_outputs(network: nn.Module, returned: object) -> BrainEdgeError:
    """The refusal of a network that does not return one tensor."""
    return BrainEdgeError(
        f"expected a network with one output, {type(network).__name__} returns {describe_outputs(returned)}; "
        "name the one that is meant in the recipe (`output` of its GraphSource), or give a module whose forward "
        "returns it alone"
    )


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
