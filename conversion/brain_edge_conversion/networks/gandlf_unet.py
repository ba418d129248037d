"""GaNDLF's `unet` and `resunet` in 3D.

Pati et al., "GaNDLF: the generally nuanced deep learning framework for scalable end-to-end clinical workflows",
Communications Engineering 2 (2023) 23, doi:10.1038/s44172-023-00066-3. Read from mlcommons/GaNDLF,
`GANDLF/models/unet.py` (commit 19308c95) and `GANDLF/models/seg_modules`, whose module names are kept so that
`model_state_dict` loads. It is of the family of BrainMaGe's network, with a norm before every convolution and the
corners of the linear upsampling aligned.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn import functional


class Norm(StrEnum):
    """`norm_type`; both have running statistics, which are what counts in evaluation mode."""

    BATCH = "batch"
    """Over the batch and space."""
    INSTANCE = "instance"
    """Over space; in evaluation mode the same as `batch`, with running statistics of its own training."""


class OutputActivation(StrEnum):
    """`final_layer`."""

    SIGMOID = "sigmoid"
    """Each class on its own."""
    SOFTMAX = "softmax"
    """Classes that exclude each other."""
    NONE = "none"
    """The outputs as they are."""


@dataclass(frozen=True, kw_only=True)
class GandlfPlan:
    """What the configuration says of a network.

    Attributes:
        residual: True for `resunet`, False for `unet`.
        norm: norm of all blocks.
        width: number of channels of the finest level (`base_filters`), doubled at each of the four levels below it.
        channels_in, channels_out: numbers of sequences and of classes.
        final: activation that makes probabilities of the outputs.
        sigmoid_multiplier: factor of the outputs before the sigmoid.
    """

    residual: bool
    norm: Norm
    width: int
    channels_in: int
    channels_out: int
    final: OutputActivation
    sigmoid_multiplier: float = 1.0

    def norm_of(self, channels: int) -> nn.Module:
        """One norm."""
        kind = nn.BatchNorm3d if self.norm is Norm.BATCH else nn.InstanceNorm3d
        return kind(channels, affine=True, track_running_stats=True)


class GandlfUNet(nn.Module):
    """(N, C, I, J, K), sides multiples of 16, to probabilities (N, D, I, J, K)."""

    def __init__(self, plan: GandlfPlan) -> None:
        super().__init__()
        first, second, third, fourth, fifth = (plan.width * 2**level for level in range(5))
        self.ins = _Stem(plan, plan.channels_in, first)
        self.ds_0 = _Down(plan, first, second)
        self.en_1 = _Encoder(plan, second)
        self.ds_1 = _Down(plan, second, third)
        self.en_2 = _Encoder(plan, third)
        self.ds_2 = _Down(plan, third, fourth)
        self.en_3 = _Encoder(plan, fourth)
        self.ds_3 = _Down(plan, fourth, fifth)
        self.en_4 = _Encoder(plan, fifth)
        self.us_3 = _Up(fifth, fourth)
        self.de_3 = _Decoder(plan, fifth, fourth)
        self.us_2 = _Up(fourth, third)
        self.de_2 = _Decoder(plan, fourth, third)
        self.us_1 = _Up(third, second)
        self.de_1 = _Decoder(plan, third, second)
        self.us_0 = _Up(second, first)
        self.de_0 = _Decoder(plan, second, second)
        self.out = _Head(plan, second)

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities at the input's resolution."""
        skip0 = self.ins(x)
        skip1 = self.en_1(self.ds_0(skip0))
        skip2 = self.en_2(self.ds_1(skip1))
        skip3 = self.en_3(self.ds_2(skip2))
        x = self.en_4(self.ds_3(skip3))
        x = self.de_3(self.us_3(x), skip3)
        x = self.de_2(self.us_2(x), skip2)
        x = self.de_1(self.us_1(x), skip1)
        x = self.de_0(self.us_0(x), skip0)
        return self.out(x)  # type: ignore[no-any-return]


class _Stem(nn.Module):
    """A convolution, then twice norm, LeakyReLU, convolution; plus the first one's output where it is residual."""

    def __init__(self, plan: GandlfPlan, channels_in: int, channels: int) -> None:
        super().__init__()
        self.residual = plan.residual
        self.conv0 = nn.Conv3d(channels_in, channels, 3, padding=1)
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        self.in_0 = plan.norm_of(channels)
        self.in_1 = plan.norm_of(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(x)
        inner = self.conv1(_activate(self.in_0(x)))
        return _sum(self.conv2(_activate(self.in_1(inner))), x, self.residual)


class _Down(nn.Module):
    """Norm, LeakyReLU, convolution of stride 2."""

    def __init__(self, plan: GandlfPlan, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.in_0 = plan.norm_of(channels_in)
        self.conv0 = nn.Conv3d(channels_in, channels_out, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv0(_activate(self.in_0(x)))  # type: ignore[no-any-return]


class _Encoder(nn.Module):
    """Twice norm, LeakyReLU, convolution; plus the input where it is residual."""

    def __init__(self, plan: GandlfPlan, channels: int) -> None:
        super().__init__()
        self.residual = plan.residual
        self.in_0 = plan.norm_of(channels)
        self.in_1 = plan.norm_of(channels)
        self.conv0 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv0(_activate(self.in_0(x)))
        return _sum(self.conv1(_activate(self.in_1(inner))), x, self.residual)


class _Up(nn.Module):
    """Linear upsampling between the centres of the corner voxels, then a convolution of 1x1x1."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv3d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=True)
        return self.conv0(x)  # type: ignore[no-any-return]


class _Decoder(nn.Module):
    """Upsampled features and skip connection, concatenated and reduced; then a block as in `_Encoder`."""

    def __init__(self, plan: GandlfPlan, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.residual = plan.residual
        self.conv0 = nn.Conv3d(channels_in, channels_out, 3, padding=1)
        self.conv1 = nn.Conv3d(channels_out, channels_out, 3, padding=1)
        self.conv2 = nn.Conv3d(channels_out, channels_out, 3, padding=1)
        self.in_0 = plan.norm_of(channels_in)
        self.in_1 = plan.norm_of(channels_out)
        self.in_2 = plan.norm_of(channels_out)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.conv0(_activate(self.in_0(torch.cat((x, skip), dim=1))))
        inner = self.conv1(_activate(self.in_1(x)))
        return _sum(self.conv2(_activate(self.in_2(inner))), x, self.residual)


class _Head(nn.Module):
    """Norm, LeakyReLU, convolution to the classes, and what makes probabilities of them."""

    def __init__(self, plan: GandlfPlan, channels: int) -> None:
        super().__init__()
        self.final, self.multiplier = plan.final, plan.sigmoid_multiplier
        self.in_0 = plan.norm_of(channels)
        self.conv0 = nn.Conv3d(channels, plan.channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(_activate(self.in_0(x)))
        if self.final is OutputActivation.SOFTMAX:
            return functional.softmax(x, dim=1)
        if self.final is OutputActivation.SIGMOID:
            return torch.sigmoid(x if self.multiplier == 1 else self.multiplier * x)
        return x


def _activate(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.01)


def _sum(x: Tensor, skip: Tensor, is_residual: bool) -> Tensor:
    return torch.add(x, skip) if is_residual else x
