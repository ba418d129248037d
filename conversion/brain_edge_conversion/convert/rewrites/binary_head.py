"""Two classes need one channel: softmax over two logits is the sigmoid of their difference.

    softmax(a, b)[1] = 1 / (1 + exp(a - b)) = sigmoid(b - a)

The last linear layer computes a and b from the same input, so b - a is one layer with the difference of the weights.
This halves the output and removes the softmax, and the runtime can compare the logit with a threshold without computing
a probability. The rewrite is exact up to the rounding of the weights' difference (4e-6 of logits up to 15 on deepbet).
It saves most of the memory of a skull-stripper's last layer: the output of deepbet is two channels of 256^3, kept three
times by the plain graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import torch
from torch import nn

from brain_edge.errors import BrainEdgeError
from brain_edge.spec import Activation, ModelSpec, Stage

if TYPE_CHECKING:
    from collections.abc import Collection

    from brain_edge_conversion.recipe import BinaryHead, ModelSource

BACKGROUND: Final = 0
FOREGROUND: Final = 1
CHANNEL_AXES: Final = (1, -4)
"""Index of the channel axis in (1, C, I, J, K)."""


def merge_binary_head(module: nn.Module, head: BinaryHead) -> None:
    """Change the network, in place, to return the logit of the foreground (1, 1, I, J, K).

    Raises:
        BrainEdgeError: the layers differ from `head`; the recipe is wrong.
    """
    linear, softmax = _layer(module, head.linear), _layer(module, head.softmax)
    if not isinstance(linear, nn.Conv3d | nn.ConvTranspose3d) or not isinstance(softmax, nn.Softmax):
        raise BrainEdgeError(
            f"expected a convolution and a softmax at {head.linear} and {head.softmax}, "
            f"got {type(linear).__name__} and {type(softmax).__name__}"
        )
    if linear.out_channels != 2 or linear.groups != 1:
        raise BrainEdgeError(
            f"{head.linear}: expected 2 output channels in one group, got {linear.out_channels} in {linear.groups}"
        )
    if softmax.dim not in CHANNEL_AXES:
        raise BrainEdgeError(f"{head.softmax}: expected a softmax over the channels, got one over axis {softmax.dim}")
    channel_axis = 1 if isinstance(linear, nn.ConvTranspose3d) else 0
    linear.weight = _difference(linear.weight, channel_axis)
    if linear.bias is not None:
        linear.bias = _difference(linear.bias, 0)
    linear.out_channels = 1
    module.set_submodule(head.softmax, nn.Identity())


def with_binary_heads(spec: ModelSpec, graphs: Collection[str]) -> ModelSpec:
    """Return the specification of a model whose networks `graphs` return the logit of the foreground."""
    stages = tuple(_binary(stage) if set(stage.network.graphs) <= set(graphs) else stage for stage in spec.stages)
    return msgspec.structs.replace(spec, stages=stages)


def can_merge(stage: Stage) -> bool:
    """Return True if a stage uses only the probability of one of two classes."""
    network = stage.network
    if network.channels_out != 2 or network.activation is not Activation.NONE:
        return False
    return any(step.on_foreground() is not None for step in stage.after)


def mergeable_graphs(source: ModelSource) -> frozenset[str]:
    """Return the graphs whose two classes become one channel; a stage qualifies only if all its members do."""
    heads = {graph.graph for graph in source.graphs if graph.binary_head is not None}
    stages = [stage for stage in source.spec.stages if can_merge(stage) and heads.issuperset(stage.network.graphs)]
    return frozenset(graph for stage in stages for graph in stage.network.graphs)


def _binary(stage: Stage) -> Stage:
    network = msgspec.structs.replace(stage.network, channels_out=1, activation=Activation.SIGMOID)
    after = tuple(step.on_foreground() or step for step in stage.after)
    return msgspec.structs.replace(stage, network=network, after=after)


def _layer(module: nn.Module, name: str) -> nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError as error:
        raise BrainEdgeError(f"{type(module).__name__} has no layer {name!r}: {error}") from error


def _difference(weights: torch.Tensor, axis: int) -> nn.Parameter:
    chosen = weights.detach().narrow(axis, FOREGROUND, 1) - weights.detach().narrow(axis, BACKGROUND, 1)
    return nn.Parameter(chosen.contiguous(), requires_grad=False)
