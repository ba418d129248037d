"""The generator of Vox2Vox: a 3D U-Net with a bottleneck of wide convolutions, for brain tumours.

Cirillo, Abramian, Eklund, "Vox2Vox: 3D-GAN for brain tumour segmentation", BrainLes 2020 (arXiv 2003.13653). Built from
the paper's description: each output of the bottleneck is concatenated with the one before it, so the second to fourth
block and the decoder take two (section 2.3; the published program, mdciri/Vox2Vox, `architecture.py`, gives the decoder
as many channels). No number of parameters is stated; counted here: 150.5 million. Not stated either: scale and shift of
the instance norms (here: yes) and their epsilon (here: PyTorch's). The discriminator and the dropout of 0.2 are for
training only and do not exist here.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

SLOPE: Final = 0.3
"""Slope of the LeakyReLUs."""

_norm = partial(nn.InstanceNorm3d, affine=True)


class Vox2VoxGenerator(nn.Module):
    """(1, channels_in, I, J, K), sides multiples of 16, to (1, classes, I, J, K): softmax. Sides of 32 at least.

    Args:
        channels_in: number of MR sequences. The paper has T1w, T2w, T1w after contrast, FLAIR.
        classes: number of classes, background included. Their order is in `recipes.vox2vox`.
        width: number of channels of the finest level, doubled at each of the three levels below it.
    """

    def __init__(self, channels_in: int = 4, classes: int = 4, width: int = 64) -> None:
        super().__init__()
        first, second, third, fourth = (width * 2**level for level in range(4))
        self.down1 = down_block(channels_in, first)
        self.down2 = down_block(first, second)
        self.down3 = down_block(second, third)
        self.down4 = down_block(third, fourth)
        self.wide1 = wide_block(fourth, fourth)
        self.wide2 = wide_block(2 * fourth, fourth)
        self.wide3 = wide_block(2 * fourth, fourth)
        self.wide4 = wide_block(2 * fourth, fourth)
        self.up3 = _up(2 * fourth, third)
        self.up2 = _up(2 * third, second)
        self.up1 = _up(2 * second, first)
        self.head = transposed(2 * first, classes)
        self.softmax = nn.Softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities at the input's resolution."""
        skip1 = self.down1(x)
        skip2 = self.down2(skip1)
        skip3 = self.down3(skip2)
        deepest = self.down4(skip3)
        first = self.wide1(deepest)
        second = self.wide2(torch.cat((first, deepest), dim=1))
        third = self.wide3(torch.cat((second, first), dim=1))
        last = self.wide4(torch.cat((third, second), dim=1))
        x = self.up3(torch.cat((last, third), dim=1))
        x = self.up2(torch.cat((x, skip3), dim=1))
        x = self.up1(torch.cat((x, skip2), dim=1))
        probabilities: Tensor = self.softmax(self.head(torch.cat((x, skip1), dim=1)))
        return probabilities


def down_block(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return a convolution of kernel 4 and stride 2. Its "same" padding is one voxel at both ends of an even side."""
    return normed(nn.Conv3d(channels_in, channels_out, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE, inplace=True))


def wide_block(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return a convolution of kernel 4 and stride 1. Its "same" padding is one voxel before and two after.

    PyTorch's own word for that padding gives a warning.
    """
    padding = nn.ConstantPad3d((1, 2, 1, 2, 1, 2), 0.0)
    return nn.Sequential(padding, *normed(nn.Conv3d(channels_in, channels_out, 4), nn.LeakyReLU(SLOPE, inplace=True)))


def _up(channels_in: int, channels_out: int) -> nn.Sequential:
    return normed(transposed(channels_in, channels_out), nn.ReLU(inplace=True))


def transposed(channels_in: int, channels_out: int) -> nn.ConvTranspose3d:
    """Return a transposed convolution of kernel 4 and stride 2, which doubles the sides."""
    return nn.ConvTranspose3d(channels_in, channels_out, 4, stride=2, padding=1)


def normed(convolution: nn.Conv3d | nn.ConvTranspose3d, activation: nn.Module) -> nn.Sequential:
    """Return a convolution, an instance norm, an activation."""
    return nn.Sequential(convolution, _norm(convolution.out_channels), activation)
