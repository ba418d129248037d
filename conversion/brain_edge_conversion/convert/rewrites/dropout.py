"""Dropout is for training: in evaluation mode it is the identity, and tracing leaves it out.

A program that keeps it running at inference gives another mask each time. No conversion can reproduce that, and none
is checked against it.
"""

from __future__ import annotations

from typing import Final

from torch import nn

from brain_edge.errors import WeightsError

DROPOUTS: Final = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


def idle_dropouts(module: nn.Module) -> list[str]:
    """Names of the dropout layers of a network, none of which does anything in evaluation mode.

    Raises:
        WeightsError: one of them is in training mode: the network is random.
    """
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, DROPOUTS) and layer.p > 0}
    running = [name for name, layer in layers.items() if layer.training]
    if running:
        raise WeightsError(
            f"expected a network that computes the same each time, got {len(running)} dropout layer(s) in training "
            f"mode (first: {running[0]}); build the network in evaluation mode"
        )
    return list(layers)
