"""Choice of one output, named by the recipe, of a network that returns several (deep supervision, auxiliary heads).

Only PyTorch knows the structure of the outputs: OpenVINO's converter loses the names of a list and the order of nested
lists. The output is therefore chosen before tracing, and layers that lead only to other outputs are not traced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias, cast

import torch
from torch import nn

from brain_edge.errors import BrainEdgeError

Key: TypeAlias = int | str


class OneOutput(nn.Module):
    """Network that returns the output `key` of another network: a position in its list, or a name in its dictionary."""

    def __init__(self, network: nn.Module, key: Key) -> None:
        super().__init__()
        self.network = network
        self.key = key

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the chosen output.

        Raises:
            BrainEdgeError: there is no such output.
        """
        returned = self.network(x)
        try:
            chosen = returned[self.key]
        except (KeyError, IndexError, TypeError) as error:
            raise self._missing(returned) from error
        # a tensor accepts an index too, and would lose its batch axis
        if isinstance(returned, torch.Tensor) or not isinstance(chosen, torch.Tensor):
            raise self._missing(returned)
        return chosen

    def _missing(self, returned: object) -> BrainEdgeError:
        return BrainEdgeError(
            f"expected the output {self.key!r} of {type(self.network).__name__}, which returns "
            f"{describe_outputs(returned)}; correct `output` in the recipe"
        )


def with_one_output(network: nn.Module, key: Key | None) -> nn.Module:
    """Return a network with the single output `key`; the network itself if `key` is None."""
    return network if key is None else OneOutput(network, key)


def as_traced(network: nn.Module) -> nn.Module:
    """Return the module for the converter; TorchScript is unwrapped, so that the converter finds its one output."""
    is_script = isinstance(network, OneOutput) and isinstance(network.network, torch.jit.ScriptModule)
    return cast("OneOutput", network).network if is_script else network


def only_output(network: nn.Module, returned: object) -> Key | None:
    """Return the key of the single tensor in a returned list, tuple or dictionary; None if a bare tensor was returned.

    Raises:
        BrainEdgeError: the network did not return exactly one tensor.
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
    """Return the error for a network that does not return exactly one tensor."""
    return BrainEdgeError(
        f"expected a network with one output, {type(network).__name__} returns {describe_outputs(returned)}; "
        "name the wanted output in the recipe (`output` of its GraphSource), or give a module whose forward returns "
        "only this output"
    )


def describe_outputs(returned: object) -> str:
    """Describe a network's outputs in words: names or positions, and shapes."""
    if isinstance(returned, torch.Tensor):
        return f"one tensor ({_shape(returned)})"
    if isinstance(returned, Mapping):
        return ", ".join(f"{name!r} ({_shape(value)})" for name, value in returned.items())
    if isinstance(returned, list | tuple):
        return ", ".join(f"{position} ({_shape(value)})" for position, value in enumerate(returned))
    return f"a {type(returned).__name__}"


def _shape(value: object) -> str:
    return " x ".join(map(str, value.shape)) if isinstance(value, torch.Tensor) else type(value).__name__
