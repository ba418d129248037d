"""The generator of a progressive growing GAN: noise to a slice.

Karras et al., "Progressive Growing of GANs for Improved Quality, Stability, and Variation", ICLR 2018, table 2, fully
grown: 512 normal numbers, pixel norm, 4 x 4, then pairs of 3 x 3 convolutions, each followed by LeakyReLU 0.2 and a
pixel norm, doubled (nearest) between them up to 256 x 256, with 512, 512, 512, 512, 256, 128, 64 channels; a linear 1 x
1 at the end. Foroozandeh and Eklund (arXiv 2009.05946) use it as it is for label maps of 256 x 256.

The equalised learning rate is a matter of training: its factors are constants and belong into the weights.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS: Final = (512, 512, 512, 512, 256, 128, 64)
"""Channels at 4 x 4, 8 x 8, ... 256 x 256."""


class PGANGenerator(nn.Module):
    """(N, widths[0]) normal numbers to (N, channels_out, S, S), S = 4 * 2^(levels - 1)."""

    def __init__(self, channels_out: int = 1, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.first = nn.ConvTranspose2d(widths[0], widths[0], 4)
        self.second = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        steps = tuple(pairwise(widths))
        self.wider = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in steps)
        self.same = nn.ModuleList(nn.Conv2d(after, after, 3, padding=1) for _, after in steps)
        self.out = nn.Conv2d(widths[-1], channels_out, 1)

    def forward(self, noise: Tensor) -> Tensor:
        """A slice for each row of noise."""
        x = _active(self.first(_pixel_norm(noise)[:, :, None, None]))
        x = _active(self.second(x))
        for wider, same in zip(self.wider, self.same, strict=True):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = _active(same(_active(wider(x))))
        image: Tensor = self.out(x)
        return image


def _active(x: Tensor) -> Tensor:
    return _pixel_norm(functional.leaky_relu(x, 0.2))


def _pixel_norm(x: Tensor) -> Tensor:
    """Every place divided by the root mean square of its channels."""
    return x * torch.rsqrt((x * x).mean(dim=1, keepdim=True) + 1e-8)
