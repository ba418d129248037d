"""The attention U-Net with CBAM on every skip: one network for three regions of a brain tumour.

"Brain Tumor Segmentation Using Attention Activated U-Net with Positive Mining", BrainLes 2021; the attention is that of
Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018.

- Method, on the network: four stages, 48 channels at the finest one, doubled at each; a stage is two 3 x 3 x 3
  convolutions of stride 1 with ReLU; max-pooling by 2, of what has not been attended to; upsampling by 2, concatenation
  and two convolutions on the way up; three regions ET, WT, TC. The stage at the bottom is followed by two convolutions
  of dilation 2. One phrase leaves open whether the lowest stage doubles once more; chosen: it does, 48 to 384.
- Method, on attention: the gate of a channel is the sigmoid of the product of a one-layer perceptron of its mean and
  the same perceptron of its maximum (a product as printed; CBAM itself adds them); the gate of a voxel is the sigmoid
  of a convolution of the mean and the maximum over the channels.

Not stated, chosen here: group norm in 8 groups behind each convolution, no bias before it; trilinear upsampling; a
kernel of 7 in the voxel gate, as in CBAM; a sigmoid per region. Deep supervision is for training only and does not
exist here. No number of parameters is stated that could say whether that is right.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUPS: Final = 8
GATE_KERNEL: Final = 7
DILATION: Final = 2


class CbamUNet(nn.Module):
    """(1, channels_in, I, J, K), sides multiples of 8, to (1, regions, I, J, K): sigmoid.

    Args:
        channels_in: number of MR sequences.
        regions: number of regions. The paper has ET, WT, TC.
        width: number of channels of the finest stage, a multiple of 8.
        stages: number of resolutions.
    """

    def __init__(self, channels_in: int = 4, regions: int = 3, width: int = 48, stages: int = 4) -> None:
        super().__init__()
        widths = [width * 2**stage for stage in range(stages)]
        self.encoders = nn.ModuleList(
            _stage(before, after) for before, after in zip([channels_in, *widths], widths, strict=False)
        )
        self.bottom = _stage(widths[-1], widths[-1], DILATION)
        self.gates = nn.ModuleList(Cbam(each) for each in widths[:-1])
        self.decoders = nn.ModuleList(
            _stage(coarse + fine, fine) for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.head = nn.Conv3d(width, regions, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities of the regions at the input's resolution."""
        skips: list[Tensor] = []
        for encoder in self.encoders:
            x = encoder(functional.max_pool3d(x, 2) if skips else x)
            skips.append(x)
        x = self.bottom(x)
        attended = [gate(skip) for gate, skip in zip(self.gates, skips[:-1], strict=True)]
        for decoder, skip in zip(self.decoders, reversed(attended), strict=True):
            x = functional.interpolate(x, scale_factor=2.0, mode="trilinear", align_corners=False)
            x = decoder(torch.cat((x, skip), dim=1))
        return torch.sigmoid(self.head(x))


class Cbam(nn.Module):
    """(N, C, I, J, K) times a gate for each channel, then times a gate for each voxel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.perceptron = nn.Conv3d(channels, channels, 1)
        self.voxels = nn.Conv3d(2, 1, GATE_KERNEL, padding=GATE_KERNEL // 2)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        mean, most = x.mean(dim=(2, 3, 4), keepdim=True), x.amax(dim=(2, 3, 4), keepdim=True)
        x = x * torch.sigmoid(self.perceptron(mean) * self.perceptron(most))
        across = torch.cat((x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)), dim=1)
        gated: Tensor = x * torch.sigmoid(self.voxels(across))
        return gated


def _stage(channels_in: int, channels_out: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(*_unit(channels_in, channels_out, dilation), *_unit(channels_out, channels_out, dilation))


def _unit(channels_in: int, channels_out: int, dilation: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv3d(channels_in, channels_out, 3, padding=dilation, dilation=dilation, bias=False)
    return convolution, nn.GroupNorm(GROUPS, channels_out), nn.ReLU()
