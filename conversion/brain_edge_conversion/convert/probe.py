"""A network is tried once on noise before it is converted: does it take what the steps give, and is it a function?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.errors import BrainEdgeError, WeightsError
from brain_edge.spec.execution import NoiseSlices
from brain_edge_conversion.convert.graph_input import example_input

if TYPE_CHECKING:
    from torch import Tensor, nn

    from brain_edge.image.geometry import Shape
    from brain_edge.spec import Network

REPEATABLE: Final = 1e-4
"""Largest difference of two passes / largest output. Threads move sums by 1e-6; dropout moves outputs by tenths."""


def require_usable(graph: str, module: nn.Module, network: Network, sides: Shape) -> None:
    """Run a published network twice on the same noise.

    Args:
        graph: its name, for messages.
        module: the network, in the state in which it is run.
        network: what the specification says of it.
        sides: spatial sides (I, J, K) that it accepts.

    Raises:
        WeightsError: it does not take the channels of the specification, returns others, or returns something else the
            second time.
    """
    import torch

    shape = example_input(network.execution, network.channels_in, sides)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    first, second = (_output(graph, module, noise) for _ in range(2))
    if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor):
        return  # what it returns instead is said where it is traced
    if not isinstance(network.execution, NoiseSlices) and first.ndim > 1 and first.shape[1] != network.channels_out:
        raise WeightsError(
            f"{graph}: the network returns {first.shape[1]} channels, the specification says {network.channels_out}; "
            "correct channels_out, or give the network that it describes"
        )
    difference, largest = float((first - second).abs().max()), float(first.abs().max())
    if not difference <= REPEATABLE * max(largest, 1e-12):
        raise WeightsError(
            f"{graph}: the network gives another output each time that it sees the same input (differs by "
            f"{difference:.3g} of {largest:.3g}): something in it is random in evaluation mode, such as dropout "
            "with training=True; switch that off, or there is nothing that a conversion could be compared with"
        )


def _output(graph: str, module: nn.Module, noise: Tensor) -> object:
    import torch

    try:
        with torch.no_grad():
            return module(noise)
    except Exception as error:  # somebody else's code may fail in any way
        reason = (str(error).strip().splitlines() or ["no further detail"])[-1][:300]
        said = reason if isinstance(error, BrainEdgeError) else f"{type(error).__name__}: {reason}"
        raise WeightsError(
            f"{graph}: the network does not take an input of {tuple(noise.shape)}, which is what the specification "
            f"gives it ({said}); correct channels_in and the shapes of the steps, or give "
            "the network that it describes"
        ) from error
