"""Translation of the tensor names of nnU-Net 1 (`Generic_UNet`) to those of the nnU-Net networks here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_VERSION_1 = "conv_blocks_context."
"""First characters of a name that only nnU-Net 1 has."""
_CONTEXT = re.compile(r"conv_blocks_context\.(\d+)(?:\.(\d+))?\.blocks\.(\d+)\.(conv|instnorm)\.(.+)")
_LOCALISATION = re.compile(r"conv_blocks_localization\.(\d+)\.(\d+)\.blocks\.0\.(conv|instnorm)\.(.+)")
_LAST = re.compile(r"(tu|seg_outputs)\.(\d+)\.(.+)")
_KERNEL_DIMENSIONS = 4
_PARTS = {"conv": "conv", "instnorm": "norm", "tu": "transpconvs", "seg_outputs": "seg_layers"}


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of a `.model` file with the names used here; unknown names stay unchanged."""
    return {_name(key): tensor for key, tensor in state.items()}


def renamed_slices(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of a 2D `.model` file as `NnunetSlices` has it; any other state dict stays as it is.

    A kernel (H, W) becomes a kernel of one slice, (1, H, W).
    """
    if not any(key.startswith(_VERSION_1) for key in state):
        return dict(state)
    return {f"unet.{key}": _of_one_slice(tensor) for key, tensor in renamed(state).items()}


def _of_one_slice(tensor: Tensor) -> Tensor:
    return tensor.unsqueeze(2) if tensor.ndim == _KERNEL_DIMENSIONS else tensor


def _name(key: str) -> str:
    if found := _CONTEXT.fullmatch(key):
        level, outer, inner, part, rest = found.groups()
        # two blocks in one layer, but at the deepest level two layers of one block
        return f"encoder.stages.{level}.0.convs.{int(outer or 0) + int(inner)}.{_PARTS[part]}.{rest}"
    if found := _LOCALISATION.fullmatch(key):
        stage, block, part, rest = found.groups()
        return f"decoder.stages.{stage}.convs.{block}.{_PARTS[part]}.{rest}"
    if found := _LAST.fullmatch(key):
        part, stage, rest = found.groups()
        return f"decoder.{_PARTS[part]}.{stage}.{rest}"
    return key
