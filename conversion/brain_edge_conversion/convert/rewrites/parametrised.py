"""Weights that a layer computes from others (weight norm, spectral norm): computed once, since they stay the same.

What the old kind has computed last hangs on the graph of the gradients until a pass without them: layers that
evaluation never runs could not even be copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

if TYPE_CHECKING:
    from torch import nn


def bake_weights(network: nn.Module) -> None:
    """Keep what every parametrised weight is now, in place; what it was computed from goes."""
    with torch.no_grad():
        for layer in list(network.modules()):
            if isinstance(layer, torch.jit.ScriptModule):
                continue
            if parametrize.is_parametrized(layer):
                for name in list(cast("nn.ModuleDict", layer.parametrizations)):
                    parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
            for hook in list(layer._forward_pre_hooks.values()):
                if isinstance(hook, WeightNorm):
                    remove_weight_norm(layer, hook.name)
                elif isinstance(hook, SpectralNorm):
                    remove_spectral_norm(layer, hook.name)
