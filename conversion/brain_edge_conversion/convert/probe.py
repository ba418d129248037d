"""A network is tried once on noise before it is converted: does it take what the steps give, and is it a function?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import torch

from brain_edge.errors import BrainEdgeError, WeightsError
from brain_edge_conversion.convert.draft import Probed, onward, stage_of
from brain_edge_conversion.convert.rewrites.dropout import idle_dropouts
from brain_edge_conversion.convert.rewrites.norm_statistics import trapped_norms
from brain_edge_conversion.convert.rewrites.outputs import OneOutput, only_output, with_one_output

if TYPE_CHECKING:
    from torch import nn

    from brain_edge.spec import Network
    from brain_edge_conversion.convert.draft import Built
    from brain_edge_conversion.recipe import GraphSource

REPEATABLE: Final = 1e-4
"""Largest difference of two passes / largest output. Threads move sums by 1e-6; dropout moves outputs by tenths."""


def probe(draft: Built) -> Probed:
    """Run every network twice on the same noise.

    Raises:
        BrainEdgeError: it does not return one tensor.
        WeightsError: it is random, does not take the channels of the specification, or returns others.
    """
    for module in draft.published.values():
        idle_dropouts(module)  # refuses those that run
    published = {
        graph.graph: _probe(graph, draft.published[graph.graph], stage_of(draft.source.spec, graph.graph).network)
        for graph in draft.source.graphs
    }
    suspects = {graph: trapped_norms(module) for graph, module in published.items()}
    return onward(draft, Probed, published=published, suspects=suspects)


def _probe(source: GraphSource, published: nn.Module, network: Network) -> nn.Module:
    """The network, which returns a tensor from now on."""
    graph, module = source.graph, with_one_output(published, source.output)
    shape = network.execution.example_input(network.channels_in, source.example_shape)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    returned = _output(graph, module, noise)
    if (key := only_output(module, returned)) is not None:
        module = published = OneOutput(published, key)
    first, second = (cast("torch.Tensor", _output(graph, module, noise)) for _ in range(2))
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
    return published


def _output(graph: str, module: nn.Module, noise: torch.Tensor) -> object:
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
