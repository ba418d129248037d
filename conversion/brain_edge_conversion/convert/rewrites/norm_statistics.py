"""Norm trap: layers that carry running statistics but run on the statistics of their input.

A batch or instance norm built with `track_running_stats=True` ignores its running statistics in training mode. Some
programs run inference in training mode on purpose (HD-BET v1 does), but converters silently use the running statistics.
Without running statistics the layer behaves the same in both modes, as published: the rewrite is exact, bit for bit.

For a batch norm, "statistics of the input" means those of the whole batch; brain_edge runs batches of one, so they are
those of one image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import torch
from torch import nn

from brain_edge.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Collection

_BatchNorm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
_InstanceNorm: TypeAlias = nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d
_Norm: TypeAlias = _BatchNorm | _InstanceNorm

_TRACED_NORMS: Final = ("aten::instance_norm", "aten::batch_norm")
_USE_INPUT_STATISTICS: Final = 5
"""Position of the flag `use_input_stats` or `training` among the operator's inputs (PyTorch: native_functions.yaml)."""


def norms_with_running_statistics(module: nn.Module) -> list[str]:
    """Return the names of the layers that carry running statistics, used or not."""
    return list(_running_norms(module))


def trapped_norms(module: nn.Module) -> list[str]:
    """Return the names of the layers that carry running statistics and do not use them in the current mode."""
    return [name for name, layer in _running_norms(module).items() if _uses_input_statistics(layer)]


def use_instance_statistics(module: nn.Module, names: Collection[str] | None = None) -> list[str]:
    """Remove the running statistics of norm layers, in place; the layers then use the statistics of their input.

    Args:
        module: network, changed in place; changed layers are put into evaluation mode.
        names: layer names, as `trapped_norms` returns them; None for all layers with running statistics.

    Returns:
        The names of the changed layers.

    Raises:
        WeightsError: a layer is TorchScript or of an unknown type; nothing was changed.
    """
    carrying = _running_norms(module)
    wanted = list(carrying if names is None else names)
    for layer in [_changeable(name, carrying[name]) for name in wanted]:
        _forget_running_statistics(layer)
    return wanted


def _running_norms(module: nn.Module) -> dict[str, nn.Module]:
    """Find norms by their buffer, so that unknown types and layers of a TorchScript program are found too."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if "running_mean" in dict(layer.named_buffers(recurse=False))
    }


def _uses_input_statistics(layer: nn.Module) -> bool:
    """Return True if a layer runs on its input's statistics; a trace freezes this, and `eval()` cannot change it."""
    if isinstance(layer, torch.jit.ScriptModule):
        frozen = _frozen_flags(layer)
        if frozen:
            return any(frozen)
    return layer.training


def _frozen_flags(layer: torch.jit.ScriptModule) -> list[bool]:
    graph: Any = layer.graph  # typed by PyTorch without its methods
    nodes = [node for kind in _TRACED_NORMS for node in graph.findAllNodes(kind)]
    flags = [list(node.inputs())[_USE_INPUT_STATISTICS].toIValue() for node in nodes]
    return [flag for flag in flags if flag is not None]  # None: decided at run time, from `training`


def _changeable(name: str, layer: nn.Module) -> _Norm:
    if isinstance(layer, _Norm):
        return layer
    if isinstance(layer, torch.jit.ScriptModule):
        raise WeightsError(
            f"{name}: expected a PyTorch layer whose running statistics can be removed, got a layer frozen in "
            "TorchScript. Give the network as module:attribute with its state dict instead"
        )
    raise WeightsError(
        f"{name}: expected a batch or instance norm of PyTorch, got {type(layer).__name__}, which keeps running "
        "statistics of its own; build the network without them"
    )


def _forget_running_statistics(layer: _Norm) -> None:
    layer.track_running_stats = False
    for buffer in ("running_mean", "running_var", "num_batches_tracked"):
        layer.register_buffer(buffer, None)
    layer.eval()
