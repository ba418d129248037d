"""One network of the cascaded 3D U-Net: whole tumour, then core, then enhancing tumour, each sees the ones before.

"Cascaded Training Pipeline for 3D Brain Tumor Segmentation", BrainLes 2021. Stated in its method: a level is twice a 3
x 3 x 3 convolution, group norm of "group size" 8, RReLU; max-pooling by 2 on the way down, trilinear upsampling and
concatenation on the way up; one region with a sigmoid; 4, 5 and 6 channels in; 155 slices, so odd sides. Not stated,
chosen here: three poolings, 16 channels at the finest level and twice as many at each below it, no bias before a norm,
eight channels per group. No number of parameters is stated that could say whether that is right.

RReLU draws its slope when training and takes the middle of its range otherwise, which is a LeakyReLU of
(1/8 + 1/3) / 2; OpenVINO has no RReLU.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

RRELU_RANGE: Final = (1 / 8, 1 / 3)
"""PyTorch's default, from which the slope is drawn in training."""

SLOPE: Final = sum(RRELU_RANGE) / 2
CHANNELS_PER_GROUP: Final = 8


class CascadedUNet(nn.Module):
    """(1, channels_in, I, J, K), any sides of 8 at least, to (1, 1, I, J, K): sigmoid.

    Args:
        channels_in: number of channels: four sequences, and one for each region that an earlier network has found.
        width: number of channels of the finest level, a multiple of 8.
        levels: number of resolutions.
    """

    def __init__(self, channels_in: int = 4, width: int = 16, levels: int = 4) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.down = nn.ModuleList(
            _level(before, after) for before, after in zip([channels_in, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            _level(coarse + fine, fine) for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.head = nn.Conv3d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Probability of the region at the input's resolution."""
        skips = []
        for number, level in enumerate(self.down):
            x = level(functional.max_pool3d(x, 2) if number else x)
            skips.append(x)
        for level, skip in zip(self.up, skips[-2::-1], strict=True):
            # to the size of the skip, because half of an odd side is rounded
            x = functional.interpolate(x, size=skip.shape[2:], mode="trilinear", align_corners=False)
            x = level(torch.cat((x, skip), dim=1))
        return torch.sigmoid(self.head(x))


def _level(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(*_unit(channels_in, channels_out), *_unit(channels_out, channels_out))


def _unit(channels_in: int, channels_out: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv3d(channels_in, channels_out, 3, padding=1, bias=False)
    return convolution, nn.GroupNorm(channels_out // CHANNELS_PER_GROUP, channels_out), nn.LeakyReLU(SLOPE)
