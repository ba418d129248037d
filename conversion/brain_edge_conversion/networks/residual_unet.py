"""The residual 3D U-Net of the cascade with localisation: one binary network per region.

"Residual 3D U-Net with Localization for Brain Tumor Segmentation", BrainLes 2021, after the network of Lee et al. for
SNEMI3D (arXiv 1706.00120). Stated in the method: a residual block is two times group norm, convolution, ReLU, then a
last convolution without a norm before it, the shortcut and an activation; max-pooling by 2; transposed convolutions of
kernel 3 and stride 2; concatenated skips; one channel with a sigmoid; 24 channels at the finest level for the coarse
network, 64 for the fine ones; sides are padded to multiples of 8.

Not stated, chosen here: three poolings (what multiples of 8 imply), twice the channels at each level, 8 groups (fewer
where there are fewer channels), and that the shortcut starts behind the first of the three convolutions and is added,
as in SNEMI3D: the paper writes that it is concatenated, without the channels that this would need. No number of
parameters is stated that could say whether that is right.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

GROUPS: Final = 8
COARSE_WIDTH: Final = 24
FINE_WIDTH: Final = 64


class ResidualUNet(nn.Module):
    """(1, channels_in, I, J, K), sides multiples of 8, to (1, 1, I, J, K): sigmoid.

    Args:
        channels_in: number of MR sequences.
        width: number of channels of the finest level.
        levels: number of resolutions.
    """

    def __init__(self, channels_in: int = 4, width: int = FINE_WIDTH, levels: int = 4) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.pool = nn.MaxPool3d(2)
        self.encoders = nn.ModuleList(
            _Residual(before, after) for before, after in zip([channels_in, *widths], widths, strict=False)
        )
        pairs = list(zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.upsamplers = nn.ModuleList(
            nn.ConvTranspose3d(coarse, fine, 3, stride=2, padding=1, output_padding=1) for fine, coarse in pairs
        )
        self.decoders = nn.ModuleList(_Residual(2 * fine, fine) for fine, _ in pairs)
        self.head = nn.Conv3d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Probability of the region at the input's resolution."""
        skips: list[Tensor] = []
        for encoder in self.encoders:
            x = encoder(self.pool(x) if skips else x)
            skips.append(x)
        for upsample, decoder, skip in zip(self.upsamplers, self.decoders, skips[-2::-1], strict=True):
            x = decoder(torch.cat((upsample(x), skip), dim=1))
        return torch.sigmoid(self.head(x))


class _Residual(nn.Module):
    """Three convolutions; what the first one gives is added to what the last one gives."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.first = _unit(channels_in, channels_out)
        self.second = _unit(channels_out, channels_out)
        self.last = nn.Conv3d(channels_out, channels_out, 3, padding=1, bias=False)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        joined: Tensor = self.activation(self.last(self.second(first)) + first)
        return joined


def _unit(channels_in: int, channels_out: int) -> nn.Sequential:
    convolution = nn.Conv3d(channels_in, channels_out, 3, padding=1, bias=False)
    return nn.Sequential(_norm(channels_in), convolution, nn.ReLU())


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS if channels % GROUPS == 0 else 1, channels)
