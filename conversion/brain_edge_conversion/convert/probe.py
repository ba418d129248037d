"""A network is tried once on noise before it is converted: does it take what the steps give, and is it a function?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.errors import BrainEdgeError, WeightsError
from brain_edge_conversion.convert.draft import Probed, onward, stage_of
from brain_edge_conversion.convert.rewrites.dropout import idle_dropouts
from brain_edge_conversion.convert.rewrites.norm_statistics import trapped_norms
from brain_edge_conversion.convert.rewrites.outputs import with_one_output

if TYPE_CHECKING:
    from torch import Tensor, nn

    from brain_edge.image.geometry import Shape
    from brain_edge.spec import Network
    from brain_edge_conversion.convert.draft import Built

REPEATABLE: Final = 1e-4
"""Largest difference of two passes / largest output. Threads move sums by 1e-6; dropout moves outputs by tenths."""


def probe(draft: Built) -> Probed:
    """Try every network once.

    Raises:
        WeightsError: it is random, or does not fit the specification.
    """
    for module in draft.published.values():
        idle_dropouts(module)  # refuses those that run
    for graph in draft.source.graphs:
        module = with_one_output(draft.published[graph.graph], graph.output)
        network = stage_of(draft.source.spec, graph.graph).network
        require_usable(graph.graph, module, network, graph.example_shape)
    suspects = {graph: trapped_norms(module) for graph, module in draft.published.items()}
    return onward(draft, Probed, suspects=suspects)


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

    shape = network.execution.example_input(network.channels_in, sides)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    first, second = (_output(graph, module, noise) for _ in range(2))
    if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor):
        return  # what it returns instead is said where it is traced
    if network.execution.reads_image and first.ndim > 1 and first.shape[1] != network.channels_out:
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
