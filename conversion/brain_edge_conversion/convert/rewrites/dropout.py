"""Dropout: the identity in evaluation mode, left out by tracing.

A program that runs dropout at inference gives another mask each time. No conversion can reproduce such a program, so
none is compared with it.
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
    """Return the names of a network's dropout layers, all inactive (in evaluation mode).

    Raises:
        WeightsError: a dropout layer is in training mode, so the network is random.
    """
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, DROPOUTS) and layer.p > 0}
    running = [name for name, layer in layers.items() if layer.training]
    if running:
        raise WeightsError(
            f"expected a deterministic network, got {len(running)} dropout layer(s) in training "
            f"mode (first: {running[0]}); build the network in evaluation mode"
        )
    return list(layers)
