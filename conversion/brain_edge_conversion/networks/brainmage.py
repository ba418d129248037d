"""BrainMaGe's 3D-ResU-Net (`resunet`, modality-agnostic).

Thakur et al., "Brain extraction on MRI scans in presence of diffuse glioma: multi-institutional performance
evaluation of deep learning methods and robust modality-agnostic training", NeuroImage 220 (2020) 117081. Read from
CBICA/BrainMaGe, `BrainMaGe/models/networks.py` (commit 0f6a147b) and `seg_modules.py` (commit 0ab27950), whose module
names are kept so that `resunet_ma.pt` (its `model_state_dict`) loads.

The published program runs it in evaluation mode: its instance norms use the running statistics of the weights file.

The chapter on BrainMaGe and OpenVINO (Thakur, Pati et al., BrainLes 2021) states two classes (table 3) and transposed
convolutions on the way up (section 2.3). `as_written` is that network. Its own 8.288 million parameters (section 4) are
those of the published program: the network as written has 8,595,074. Kernel 2 and a softmax are not stated; chosen.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

_norm = partial(nn.InstanceNorm3d, affine=True, track_running_stats=True)
_conv = partial(nn.Conv3d, kernel_size=3, padding=1)
_conv1 = partial(nn.Conv3d, kernel_size=1)


class BrainMaGe(nn.Module):
    """(1, 1, I, J, K), sides multiples of 16, to (1, 1, I, J, K): sigmoid of brain. Made for 128^3.

    As written in the chapter: to (1, 2, I, J, K), softmax over background and brain.

    Args:
        width: number of channels of the finest level, doubled at each of the four levels below it.
        as_written: True for the chapter's words, where they differ from the published program.
    """

    def __init__(self, width: int = 16, *, as_written: bool = False) -> None:
        super().__init__()
        first, second, third, fourth, fifth = (width * 2**level for level in range(5))
        self.ins = _Stem(first)
        self.ds_0 = _Down(first, second)
        self.en_1 = _Encoder(second)
        self.ds_1 = _Down(second, third)
        self.en_2 = _Encoder(third)
        self.ds_2 = _Down(third, fourth)
        self.en_3 = _Encoder(fourth)
        self.ds_3 = _Down(fourth, fifth)
        self.en_4 = _Encoder(fifth)
        up = _transposed if as_written else _resized
        self.us_3 = up(fifth, fourth)
        self.de_3 = _Decoder(fourth)
        self.us_2 = up(fourth, third)
        self.de_2 = _Decoder(third)
        self.us_1 = up(third, second)
        self.de_1 = _Decoder(second)
        self.us_0 = up(second, first)
        self.out = _Head(first, 2 if as_written else 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the probability of brain at the input's resolution."""
        skip0 = self.ins(x)
        skip1 = self.en_1(self.ds_0(skip0))
        skip2 = self.en_2(self.ds_1(skip1))
        skip3 = self.en_3(self.ds_2(skip2))
        x = self.en_4(self.ds_3(skip3))
        x = self.de_3(self.us_3(x), skip3)
        x = self.de_2(self.us_2(x), skip2)
        x = self.de_1(self.us_1(x), skip1)
        probability: Tensor = self.out(self.us_0(x), skip0)
        return probability


class _Stem(nn.Module):
    """Convolution, then a pre-activation residual block on its output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_0 = _norm(channels)
        self.in_1 = _norm(channels)
        self.conv0 = _conv(1, channels)
        self.conv1 = _conv(channels, channels)
        self.conv2 = _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(x)
        inner = self.conv1(_activate(self.in_0(x)))
        return torch.add(x, self.conv2(_activate(self.in_1(inner))))


class _Down(nn.Module):
    """Convolution of stride 2, norm, LeakyReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.in_0 = _norm(channels_out)
        self.conv0 = _conv(channels_in, channels_out, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return _activate(self.in_0(self.conv0(x)))


class _Encoder(nn.Module):
    """Pre-activation residual block: twice norm, LeakyReLU, convolution; plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_0 = _norm(channels)
        self.in_1 = _norm(channels)
        self.conv0 = _conv(channels, channels)
        self.conv1 = _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv0(_activate(self.in_0(x)))
        return torch.add(x, self.conv1(_activate(self.in_1(inner))))


class _Decoder(nn.Module):
    """Upsampled features and skip connection, concatenated (2 x channels), halved, then a residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_0 = _norm(2 * channels)
        self.in_1 = _norm(channels)
        self.in_2 = _norm(channels)
        self.conv0 = _conv(2 * channels, channels)
        self.conv1 = _conv(channels, channels)
        self.conv2 = _conv(channels, channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.conv0(_activate(self.in_0(torch.cat((x, skip), dim=1))))
        inner = self.conv1(_activate(self.in_1(x)))
        return torch.add(x, self.conv2(_activate(self.in_2(inner))))


class _Head(_Decoder):
    """The decoder block of the finest level, then norm, LeakyReLU, 1x1x1 convolution, sigmoid (softmax of two)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels)
        self.in_3 = _norm(channels)
        self.conv3 = _conv1(channels, classes)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = super().forward(x, skip)
        logits: Tensor = self.conv3(_activate(self.in_3(x)))
        return torch.softmax(logits, dim=1) if self.conv3.out_channels > 1 else torch.sigmoid(logits)


def _transposed(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return a transposed convolution that doubles the sides."""
    return nn.Sequential(OrderedDict(conv0=nn.ConvTranspose3d(channels_in, channels_out, 2, stride=2)))


def _resized(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return trilinear upsampling by 2, then a 1x1x1 convolution without a norm."""
    upsample = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True)
    return nn.Sequential(OrderedDict(interpolate=upsample, conv0=_conv1(channels_in, channels_out)))


def _activate(x: Tensor) -> Tensor:
    """LeakyReLU of slope 0.01 in place: `x` is always the fresh output of a norm."""
    return functional.leaky_relu(x, 0.01, inplace=True)
