"""Parametrised weights (weight norm, spectral norm): computed once, because they never change at inference.

In the old implementation the last computed weight stays attached to the autograd graph until a pass without gradients.
A layer that evaluation never runs could not even be copied.
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
    """Replace every parametrised weight by its current value, in place, and drop its parameters."""
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
