"""The SPADE generator: a label map to an image, the map felt in every norm.

Park et al., "Semantic Image Synthesis with Spatially-Adaptive Normalization", CVPR 2019, section 3 and appendix A,
without the encoder of styles, as Foroozandeh and Eklund (arXiv 2009.05946) use it on slices of 256 x 256 with 7
classes: the label map at 1/32 of its resolution through a 3 x 3 convolution, seven residual blocks of 16, 16, 16, 8, 4,
2, 1 times 64 channels, doubled (nearest) before all but the first and third, LeakyReLU 0.2, 3 x 3, tanh. In a SPADE
norm the input is normalised by running statistics without weights, and scale and shift of each place come from the
label map: nearest to the resolution, 3 x 3 to 128 channels, ReLU, 3 x 3 each.

Written from the paper. Spectral norms are a matter of training: divide the weights by them.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH: Final = 64
HIDDEN: Final = 128
MULTIPLES: Final = (16, 16, 16, 8, 4, 2, 1)
KEEPS_SIDES: Final = (0, 2)
"""Blocks before which nothing is doubled."""
DOWN: Final = 32


class SPADEGenerator(nn.Module):
    """(N, classes, H, W) one-hot, sides multiples of 32, to (N, channels_out, H, W) of -1 to 1.

    Args:
        classes: number of classes of the label map, background included.
        channels_out: number of MR sequences that are made at once.
        width: number of channels of the last block.
        hidden: number of channels between a label map and a scale.
    """

    def __init__(self, classes: int = 7, channels_out: int = 1, width: int = WIDTH, hidden: int = HIDDEN) -> None:
        super().__init__()
        widths = [width * multiple for multiple in MULTIPLES]
        self.first = nn.Conv2d(classes, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(
            SPADEBlock(before, after, classes, hidden)
            for before, after in zip((widths[0], *widths), widths, strict=False)
        )
        self.out = nn.Conv2d(width, channels_out, 3, padding=1)

    def forward(self, labels: Tensor) -> Tensor:
        """The image."""
        x = self.first(functional.interpolate(labels, scale_factor=1 / DOWN, mode="nearest"))
        for number, block in enumerate(self.blocks):
            if number not in KEEPS_SIDES:
                x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(x, labels)
        return torch.tanh(self.out(functional.leaky_relu(x, 0.2)))


class SPADEBlock(nn.Module):
    """Two norms and convolutions beside a skip, which has its own where the channels change."""

    def __init__(self, channels_in: int, channels_out: int, classes: int, hidden: int) -> None:
        super().__init__()
        inside = min(channels_in, channels_out)
        self.norm0 = SPADENorm(channels_in, classes, hidden)
        self.conv0 = nn.Conv2d(channels_in, inside, 3, padding=1)
        self.norm1 = SPADENorm(inside, classes, hidden)
        self.conv1 = nn.Conv2d(inside, channels_out, 3, padding=1)
        self.changes = channels_in != channels_out
        if self.changes:
            self.norm_skip = SPADENorm(channels_in, classes, hidden)
            self.conv_skip = nn.Conv2d(channels_in, channels_out, 1, bias=False)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(N, C, h, w), (N, classes, H, W) -> (N, D, h, w)."""
        skip = self.conv_skip(self.norm_skip(x, labels)) if self.changes else x
        inside = self.conv0(functional.leaky_relu(self.norm0(x, labels), 0.2))
        made: Tensor = skip + self.conv1(functional.leaky_relu(self.norm1(inside, labels), 0.2))
        return made


class SPADENorm(nn.Module):
    """A norm without weights; the label map says scale and shift of each place."""

    def __init__(self, channels: int, classes: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.shared = nn.Conv2d(classes, hidden, 3, padding=1)
        self.scale = nn.Conv2d(hidden, channels, 3, padding=1)
        self.shift = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(N, C, h, w), (N, classes, H, W) -> (N, C, h, w)."""
        here = functional.interpolate(labels, size=x.shape[2:], mode="nearest")
        seen = functional.relu(self.shared(here))
        normed: Tensor = self.norm(x) * (1 + self.scale(seen)) + self.shift(seen)
        return normed
