"""The two U-Nets that nnU-Net v2 plans, built from the arguments in the plans.

The functions and parameter names are those of `PlainConvUNet` and `ResidualEncoderUNet` of
dynamic_network_architectures 0.4 (compared in the tests), without the second and third names under which that library
keeps each tensor. They are written anew because the library asks for timm and torchvision, for transformers that no
plan here names.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

Sides = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class UNetPlan:
    """A network as the plans of nnU-Net describe it.

    Attributes:
        residual: True for a residual encoder with a stem. False for plain convolutions.
        features: numbers of channels of each stage, finest first.
        kernels, strides: kernels and strides of each stage. The first stride is usually 1.
        encoder_blocks: numbers of convolutions, or of residual blocks, of each stage.
        decoder_convs: numbers of convolutions of each decoder stage, coarsest first.
        conv_bias: True where convolutions have a bias, and transposed ones too unless `is_version_1`.
        norm_eps: epsilon of the norms. None where there are no norms.
        norm_affine: True where the norms have weights.
        batch_norm: True for batch norms in place of instance norms.
        negative_slope: slope of the leaky ReLUs.
        is_version_1: True for a network as nnU-Net 1 makes it, whose transposed convolutions and heads have no bias.
    """

    residual: bool
    features: tuple[int, ...]
    kernels: tuple[Sides, ...]
    strides: tuple[Sides, ...]
    encoder_blocks: tuple[int, ...]
    decoder_convs: tuple[int, ...]
    conv_bias: bool = True
    norm_eps: float | None = 1e-5
    norm_affine: bool = True
    batch_norm: bool = False
    negative_slope: float = 0.01
    is_version_1: bool = False

    @classmethod
    def plain(cls, features: tuple[int, ...], kernel: Sides, stride: Sides, *, is_version_1: bool = False) -> UNetPlan:
        """Return the plan for a patch of equal sides: two convolutions at each level, all of one kernel."""
        levels = len(features)
        return cls(
            residual=False,
            features=features,
            kernels=(kernel,) * levels,
            strides=((1, 1, 1), *((stride,) * (levels - 1))),
            encoder_blocks=(2,) * levels,
            decoder_convs=(2,) * (levels - 1),
            is_version_1=is_version_1,
        )


class ConvBlock(nn.Module):
    """Convolution, norm, leaky ReLU."""

    def __init__(
        self, plan: UNetPlan, channels: tuple[int, int], kernel: Sides, stride: Sides, *, is_active: bool = True
    ) -> None:
        super().__init__()
        i, j, k = ((side - 1) // 2 for side in kernel)
        self.conv = nn.Conv3d(*channels, kernel, stride, (i, j, k), bias=plan.conv_bias)
        self.norm: nn.Module = nn.Identity()
        if plan.norm_eps is not None:
            kind = nn.BatchNorm3d if plan.batch_norm else nn.InstanceNorm3d
            self.norm = kind(channels[1], eps=plan.norm_eps, affine=plan.norm_affine)
        self.nonlin: nn.Module = nn.LeakyReLU(plan.negative_slope, inplace=True) if is_active else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, I, J, K) -> channels and sides of the block."""
        return self.nonlin(self.norm(self.conv(x)))  # type: ignore[no-any-return]


class ConvBlocks(nn.Module):
    """Several of them, the first with a stride."""

    def __init__(self, plan: UNetPlan, channels: tuple[int, int], kernel: Sides, stride: Sides, count: int) -> None:
        super().__init__()
        first = ConvBlock(plan, channels, kernel, stride)
        more = [ConvBlock(plan, (channels[1], channels[1]), kernel, (1, 1, 1)) for _ in range(count - 1)]
        self.convs = nn.Sequential(first, *more)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, I, J, K) -> channels and sides of the block."""
        return self.convs(x)  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """Two convolutions beside a skip; ResNet-D: average pooling and a 1x1x1 convolution where the shape changes."""

    def __init__(self, plan: UNetPlan, channels: tuple[int, int], kernel: Sides, stride: Sides) -> None:
        super().__init__()
        self.conv1 = ConvBlock(plan, channels, kernel, stride)
        self.conv2 = ConvBlock(plan, (channels[1], channels[1]), kernel, (1, 1, 1), is_active=False)
        self.nonlin2 = nn.LeakyReLU(plan.negative_slope, inplace=True)
        skip: list[nn.Module] = []
        if stride != (1, 1, 1):
            skip.append(nn.AvgPool3d(stride, stride))
        if channels[0] != channels[1]:
            # never a bias here
            pointwise = ConvBlock(plan, channels, (1, 1, 1), (1, 1, 1), is_active=False)
            pointwise.conv = nn.Conv3d(*channels, 1, bias=False)
            skip.append(pointwise)
        self.skip = nn.Sequential(*skip)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, I, J, K) -> channels and sides of the block."""
        return self.nonlin2(self.conv2(self.conv1(x)) + self.skip(x))  # type: ignore[no-any-return]


class ResidualBlocks(nn.Module):
    """Several of them, the first with a stride."""

    def __init__(self, plan: UNetPlan, channels: tuple[int, int], kernel: Sides, stride: Sides, count: int) -> None:
        super().__init__()
        first = ResidualBlock(plan, channels, kernel, stride)
        more = [ResidualBlock(plan, (channels[1], channels[1]), kernel, (1, 1, 1)) for _ in range(count - 1)]
        self.blocks = nn.Sequential(first, *more)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, I, J, K) -> channels and sides of the block."""
        return self.blocks(x)  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """Stages from fine to coarse; all of their outputs."""

    def __init__(self, plan: UNetPlan, channels_in: int) -> None:
        super().__init__()
        self.stem: nn.Module = nn.Identity()
        if plan.residual:
            self.stem = ConvBlocks(plan, (channels_in, plan.features[0]), plan.kernels[0], (1, 1, 1), 1)
            channels_in = plan.features[0]
        stages: list[nn.Module] = []
        for before, after, kernel, stride, count in zip(
            (channels_in, *plan.features), plan.features, plan.kernels, plan.strides, plan.encoder_blocks, strict=False
        ):
            if plan.residual:
                stages.append(ResidualBlocks(plan, (before, after), kernel, stride, count))
            else:
                stages.append(nn.Sequential(ConvBlocks(plan, (before, after), kernel, stride, count)))
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The output of each stage, finest first."""
        outputs = [self.stem(x)]
        for stage in self.stages:
            outputs.append(stage(outputs[-1]))
        return outputs[1:]


class Decoder(nn.Module):
    """Stages from coarse to fine; the logits of the finest one (the others are for deep supervision in training)."""

    def __init__(self, plan: UNetPlan, channels_out: int) -> None:
        super().__init__()
        fine_to_coarse = list(pairwise(plan.features))
        transposed, stages, heads = [], [], []
        for number, (skip, below) in enumerate(reversed(fine_to_coarse)):
            level = len(fine_to_coarse) - number
            stride, kernel = plan.strides[level], plan.kernels[level - 1]
            biased = plan.conv_bias and not plan.is_version_1
            transposed.append(nn.ConvTranspose3d(below, skip, stride, stride, bias=biased))
            stages.append(ConvBlocks(plan, (2 * skip, skip), kernel, (1, 1, 1), plan.decoder_convs[number]))
            heads.append(nn.Conv3d(skip, channels_out, 1, bias=not plan.is_version_1))
        self.transpconvs = nn.ModuleList(transposed)
        self.stages = nn.ModuleList(stages)
        self.seg_layers = nn.ModuleList(heads)

    def forward(self, outputs: Sequence[Tensor]) -> Tensor:
        """Outputs of the encoder, finest first -> logits (N, D, I, J, K)."""
        x = outputs[-1]
        for transposed, stage, skip in zip(self.transpconvs, self.stages, reversed(outputs[:-1]), strict=True):
            x = stage(torch.cat((transposed(x), skip), 1))
        return self.seg_layers[-1](x)  # type: ignore[no-any-return]


class NnunetUNet(nn.Module):
    """(N, C, I, J, K) -> logits (N, D, I, J, K); sides must be multiples of the product of the strides."""

    def __init__(self, plan: UNetPlan, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.encoder = Encoder(plan, channels_in)
        self.decoder = Decoder(plan, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.decoder(self.encoder(x))  # type: ignore[no-any-return]
