"""MSFR-Net: a 2D U-Net of blocks that keep three scales of features and weigh them by attention.

"Automatic Brain Tumor Segmentation Using Multi-scale Features and Attention Mechanism", BrainLes 2021. Stated there:
four levels down (max pooling of 2 x 2) and four up, four skips that are concatenated; each block is three convolutions
of 3 x 3, one after the other, whose three outputs are concatenated, CBAM on these (channels, then places), the sum of
both, and a convolution of 1 x 1 to the wanted width; a head of 1 x 1 and a softmax over four classes. CBAM is that of
Woo et al., ECCV 2018: an MLP with reduction 16 over the mean and the largest of each channel, then a convolution of
7 x 7 over the mean and the largest of each place, both gates with a sigmoid.

Not stated, chosen: 32 channels at the finest level, doubled at each below it; batch norm and ReLU behind each
convolution of 3 x 3; transposed convolutions (kernel 2, stride 2) on the way up. No number of parameters is stated.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

WIDTH: Final = 32
REDUCTION: Final = 16


class MSFRNet(nn.Module):
    """(N, channels_in, H, W), sides multiples of 16, to (N, classes, H, W): softmax.

    Args:
        channels_in: number of MR sequences.
        classes: number of classes, background included.
        width: number of channels of the finest level.
    """

    def __init__(self, channels_in: int = 4, classes: int = 4, width: int = WIDTH) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.pool = nn.MaxPool2d(2)
        self.down = nn.ModuleList(
            MultiScaleBlock(before, after) for before, after in zip((channels_in, *widths), widths, strict=False)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * finer, finer, 2, stride=2) for finer in widths[-2::-1])
        self.joined = nn.ModuleList(MultiScaleBlock(2 * finer, finer) for finer in widths[-2::-1])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities at the input's resolution."""
        skips: list[Tensor] = []
        for block in self.down:
            x = block(self.pool(x) if skips else x)
            skips.append(x)
        for up, joined, skip in zip(self.up, self.joined, skips[-2::-1], strict=True):
            x = joined(torch.cat((up(x), skip), dim=1))
        return torch.softmax(self.head(x), dim=1)


class MultiScaleBlock(nn.Module):
    """Three convolutions in a row, all of their outputs, attention over them (the paper's MSFER module)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, channels_out, 3, padding=1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()
            )
            for before in (channels_in, channels_out, channels_out)
        )
        self.attention = Attention(3 * channels_out)
        self.out = nn.Conv2d(3 * channels_out, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D, H, W)."""
        scales: list[Tensor] = []
        for convolution in self.convolutions:
            x = convolution(x)
            scales.append(x)
        joined = torch.cat(scales, dim=1)
        narrowed: Tensor = self.out(joined + self.attention(joined))
        return narrowed


class Attention(nn.Module):
    """CBAM: how much each channel counts, then each place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inside = max(1, channels // REDUCTION)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, inside, 1, bias=False), nn.ReLU(), nn.Conv2d(inside, channels, 1, bias=False)
        )
        self.places = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same, weighted."""
        mean, largest = x.mean(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
        x = x * torch.sigmoid(self.mlp(mean) + self.mlp(largest))
        place = torch.cat((x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)), dim=1)
        return x * torch.sigmoid(self.places(place))
