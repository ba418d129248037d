"""The plain U-Net of nnU-Net 1 for slices: the one for volumes, on volumes of one slice with kernels of one slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from brain_edge_conversion.networks.nnunet_unet import NnunetUNet, UNetPlan

if TYPE_CHECKING:
    from torch import Tensor


class NnunetSlices(nn.Module):
    """(N, channels_in, H, W), sides multiples of 2^(levels - 1), to logits (N, channels_out, H, W).

    Args:
        features: numbers of channels of each level, finest first.
        channels_in: number of MR sequences.
        channels_out: number of classes.
    """

    def __init__(self, features: tuple[int, ...], channels_in: int, channels_out: int) -> None:
        super().__init__()
        plan = UNetPlan.plain(features, (1, 3, 3), (1, 2, 2), is_version_1=True)
        self.unet = NnunetUNet(plan, channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.unet(x.unsqueeze(2)).squeeze(2)
        return logits
