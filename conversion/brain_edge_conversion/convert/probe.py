"""Trial of each network on noise before conversion: it must take the input of the steps, and be deterministic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import torch

from brain_edge.errors import WeightsError
from brain_edge_conversion.convert.draft import Probed, onward, stage_of
from brain_edge_conversion.convert.failures import reason_in, remedy_for
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
        BrainEdgeError: a network does not return one tensor.
        WeightsError: a network is random, or takes or returns other channels than the specification says.
    """
    for module in draft.published.values():
        idle_dropouts(module)  # refuses dropout in training mode
    published = {
        graph.graph: _probe(graph, draft.published[graph.graph], stage_of(draft.source.spec, graph.graph).network)
        for graph in draft.source.graphs
    }
    suspects = {graph: trapped_norms(module) for graph, module in published.items()}
    return onward(draft, Probed, published=published, suspects=suspects)


def noise(shape: tuple[int, ...]) -> torch.Tensor:
    """Return the noise on which networks are tried and traced; zeros would take the branch for an empty patch."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _probe(source: GraphSource, published: nn.Module, network: Network) -> nn.Module:
    """Try a network twice; return it in a form that returns one tensor."""
    graph, module = source.graph, with_one_output(published, source.output)
    shape = network.execution.example_input(network.channels_in, source.example_shape)
    example = noise(shape)
    returned = _output(graph, module, example)
    if (key := only_output(module, returned)) is not None:
        module = published = OneOutput(published, key)
    first, second = (cast("torch.Tensor", _output(graph, module, example)) for _ in range(2))
    if network.execution.reads_image and first.ndim > 1 and first.shape[1] != network.channels_out:
        raise WeightsError(
            f"{graph}: expected {network.channels_out} output channels by the specification, the network returns "
            f"{first.shape[1]}; correct channels_out, or give the network that the specification describes"
        )
    difference, largest = float((first - second).abs().max()), float(first.abs().max())
    if not difference <= REPEATABLE * max(largest, 1e-12):
        raise WeightsError(
            f"{graph}: the network is random in evaluation mode: outputs for one input differ by {difference:.3g} of "
            f"{largest:.3g}. Such a network cannot be compared with its conversion; switch off its randomness, such as "
            "dropout with training=True"
        )
    return published


def _output(graph: str, module: nn.Module, noise: torch.Tensor) -> object:
    try:
        with torch.no_grad():
            return module(noise)
    except Exception as error:  # third-party code may raise anything
        raise WeightsError(
            f"{graph}: the network does not take an input of {tuple(noise.shape)}, the input by the specification "
            f"({reason_in(error)}). {remedy_for(error)}"
        ) from error
