"""MAAB-UNet3D: a shallow U-Net of atrous blocks with gated skips and a pyramid of three resolutions.

"Unet3D with Multiple Atrous Convolutions Attention Block for Brain Tumor Segmentation", BrainLes 2021.

- Figure of the whole network: 4 sequences; on the way down blocks of level 1 (16 channels), 2 (16), then at half the
  resolution level 3 (32), at a quarter level 4 twice (64), max-pooling between; on the way up transposed
  convolutions of kernel and stride 2 to 32 and 16 channels, each concatenated with a gated skip and followed by a block
  of level 3 (32) and 2 (16); the pyramid: a 3 x 3 x 3 convolution of 64 channels and upsampling by 4 of the quarter,
  one of 32 and upsampling by 2 of the half (both UpSampling3D, whose default in the Keras 2.5 of the paper is to repeat
  voxels), concatenated with the full resolution, a block of level 1 (64) and a 3 x 3 x 3 convolution to three regions.
  The dropout on the input is for training only and does not exist here.
- Figure of the block: a convolution at the entry, one behind an activation, and at level n further ones of dilation 2,
  4, 8 (level 1 has none, level 4 all three); what they give is combined and added to what the entry gave; attention
  closes the block.
- Figure of the gate: convolutions of the coarser decoder's output and of the skip are combined, normalised in groups,
  and a ReLU, a convolution and a sigmoid make what the skip is multiplied with.

Not stated, chosen here: kernels of 3 and a sum of the parallel convolutions; group norm in 8 groups (the letters GN are
in the gate's figure only) before each activation and nowhere else; the closing attention as one gate per voxel, a
1 x 1 x 1 convolution and a sigmoid; 1 x 1 x 1 convolutions in the gates of the skips, whose coarse side is upsampled to
the skip; regions in the order ET, WT, TC, each with a sigmoid. No number of parameters is stated that could say whether
that is right. The paper's program is TensorFlow's, so its weights fit nothing here.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUPS: Final = 8
DILATIONS: Final = (1, 2, 4, 8)
"""Dilations of the parallel convolutions. Level n has the first n."""


class MaabUNet3D(nn.Module):
    """(1, channels_in, I, J, K), sides multiples of 4, to (1, regions, I, J, K): sigmoid.

    Args:
        channels_in: number of MR sequences.
        regions: number of regions. The paper has ET, WT, TC.
        width: number of channels of the full resolution, a multiple of 8. The levels below have two and four
            times as many.
    """

    def __init__(self, channels_in: int = 4, regions: int = 3, width: int = 16) -> None:
        super().__init__()
        full, half, quarter = width, 2 * width, 4 * width
        self.pool = nn.MaxPool3d(2)
        self.down_full = nn.Sequential(AtrousBlock(channels_in, full, 1), AtrousBlock(full, full, 2))
        self.down_half = AtrousBlock(full, half, 3)
        self.down_quarter = nn.Sequential(AtrousBlock(half, quarter, 4), AtrousBlock(quarter, quarter, 4))
        self.gate_half = SkipGate(quarter, half)
        self.gate_full = SkipGate(half, full)
        self.to_half = nn.ConvTranspose3d(quarter, half, 2, stride=2)
        self.to_full = nn.ConvTranspose3d(half, full, 2, stride=2)
        self.up_half = AtrousBlock(2 * half, half, 3)
        self.up_full = AtrousBlock(2 * full, full, 2)
        self.pyramid_quarter = _convolution(quarter, quarter)
        self.pyramid_half = _convolution(half, half)
        self.pyramid = AtrousBlock(quarter + half + full, quarter, 1)
        self.head = _convolution(quarter, regions)

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities of the regions at the input's resolution."""
        skip_full = self.down_full(x)
        skip_half = self.down_half(self.pool(skip_full))
        quarter = self.down_quarter(self.pool(skip_half))
        half = self.up_half(torch.cat((self.to_half(quarter), self.gate_half(skip_half, quarter)), dim=1))
        full = self.up_full(torch.cat((self.to_full(half), self.gate_full(skip_full, half)), dim=1))
        levels = (_upsampled(self.pyramid_quarter(quarter), 4), _upsampled(self.pyramid_half(half), 2), full)
        return torch.sigmoid(self.head(self.pyramid(torch.cat(levels, dim=1))))


class AtrousBlock(nn.Module):
    """The multiple-atrous-convolutions attention block of a level."""

    def __init__(self, channels_in: int, channels_out: int, level: int) -> None:
        super().__init__()
        self.entry = _convolution(channels_in, channels_out)
        self.norm = nn.GroupNorm(GROUPS, channels_out)
        self.branches = nn.ModuleList(
            _convolution(channels_out, channels_out, dilation) for dilation in DILATIONS[:level]
        )
        self.attention = nn.Conv3d(channels_out, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_in, I, J, K) -> (N, channels_out, I, J, K)."""
        joined = self.entry(x)
        active = functional.relu(self.norm(joined))
        for branch in self.branches:
            joined = joined + branch(active)
        gated: Tensor = joined * torch.sigmoid(self.attention(joined))
        return gated


class SkipGate(nn.Module):
    """How much of each voxel of a skip passes, by what the coarser level of the decoder has found."""

    def __init__(self, channels_coarse: int, channels: int) -> None:
        super().__init__()
        self.coarse = nn.Conv3d(channels_coarse, channels, 1)
        self.skip = nn.Conv3d(channels, channels, 1)
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.gate = nn.Conv3d(channels, 1, 1)

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        """The skip (N, C, I, J, K), gated; `coarse` has half of its sides."""
        joined = self.norm(_upsampled(self.coarse(coarse), 2) + self.skip(skip))
        gated: Tensor = skip * torch.sigmoid(self.gate(functional.relu(joined)))
        return gated


def _convolution(channels_in: int, channels_out: int, dilation: int = 1) -> nn.Conv3d:
    return nn.Conv3d(channels_in, channels_out, 3, padding=dilation, dilation=dilation)


def _upsampled(x: Tensor, factor: int) -> Tensor:
    return functional.interpolate(x, scale_factor=float(factor), mode="nearest")
