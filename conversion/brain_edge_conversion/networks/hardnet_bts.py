"""HarDNet-BTS: a 3D U-Net of harmonic dense blocks, made for little memory traffic.

"HarDNet-BTS: A Harmonic Shortcut Network for Brain Tumor Segmentation", BrainLes 2021; the block is that of Chao et
al., "HarDNet: A Low Memory Traffic Network", ICCV 2019. Stated in the method: a 3 x 3 x 3 convolution to 32 channels at
full resolution, one to 64 at half of it, harmonic blocks of 8 and 16 layers below; each halving doubles the channels;
three skips; Mish; SoftPool on the way down, trilinear upsampling on the way up; a background and the regions ET, TC, WT
in versions 1 and 2 (N = 4), a background and one region in each network of version 3 (N = 2). In the block layer k sees
the layers k - 2^n for every 2^n that divides k, and what leaves it is its odd layers and the last one.

Not stated, chosen here: instance norm; growth 16 and 24 with the factor 1.7 (the factor of HarDNet's own networks); a 1
x 1 x 1 convolution behind each block to the width of its level; blocks of 8 layers on the way up but for the finest
level, which has a convolution; a sigmoid for each channel, as the cross-entropy is two-sided; the background first. No
number of parameters is stated that could say whether that is right. Deep supervision is for training only and does not
exist here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

FACTOR: Final = 1.7


@dataclass(frozen=True)
class HarmonicLayer:
    """One layer of a block: the earlier layers that it sees (0 is the block's input), and its number of channels."""

    seen: tuple[int, ...]
    channels: int


class SoftPool(nn.Module):
    """The mean of 2 x 2 x 2 voxels, each weighted with its exponential (Stergiou et al., ICCV 2021).

    The weights are taken relative to the largest of the eight, which changes nothing but that no exponential overflows.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, I, J, K), even sides, to half of them."""
        largest = functional.interpolate(functional.max_pool3d(x, 2), scale_factor=2.0, mode="nearest")
        weights = torch.exp(x - largest)
        return functional.avg_pool3d(x * weights, 2) / functional.avg_pool3d(weights, 2)


class HarDNetBTS(nn.Module):
    """(1, channels_in, I, J, K), sides multiples of 8, to (1, channels_out, I, J, K): sigmoid.

    Args:
        channels_in: number of MR sequences.
        channels_out: number of channels, background first. The paper then has ET, TC, WT, or one of them.
        width: number of channels at full resolution.
    """

    def __init__(self, channels_in: int = 4, channels_out: int = 4, width: int = 32) -> None:
        super().__init__()
        first, second, third, fourth = (width * 2**level for level in range(4))
        self.pool = SoftPool()
        self.encoders = nn.ModuleList(
            (
                _unit(channels_in, first, 3),
                _unit(first, second, 3),
                HarmonicBlock(second, third, layers=8, growth=width // 2),
                HarmonicBlock(third, fourth, layers=16, growth=3 * width // 4),
            )
        )
        self.decoders = nn.ModuleList(
            (
                HarmonicBlock(fourth + third, third, layers=8, growth=width // 2),
                HarmonicBlock(third + second, second, layers=8, growth=width // 2),
                _unit(second + first, first, 3),
            )
        )
        self.head = nn.Conv3d(first, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities of the regions at the input's resolution."""
        skips: list[Tensor] = []
        for encoder in self.encoders:
            x = encoder(self.pool(x) if skips else x)
            skips.append(x)
        for decoder, skip in zip(self.decoders, skips[-2::-1], strict=True):
            x = functional.interpolate(x, scale_factor=2.0, mode="trilinear", align_corners=False)
            x = decoder(torch.cat((x, skip), dim=1))
        return torch.sigmoid(self.head(x))


class HarDNetBTSOfOneRegion(nn.Module):
    """Version 3: a network for each region, (1, channels_in, I, J, K) to (1, 4, I, J, K) as of versions 1 and 2.

    The background is that of the network of WT.
    """

    def __init__(self, channels_in: int = 4, width: int = 32) -> None:
        super().__init__()
        self.et, self.tc, self.wt = (HarDNetBTS(channels_in, 2, width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities of background, ET, TC, WT."""
        whole = self.wt(x)
        return torch.cat((whole[:, :1], self.et(x)[:, 1:], self.tc(x)[:, 1:], whole[:, 1:]), dim=1)


class HarmonicBlock(nn.Module):
    """Layers that see few of those before them, at distances of powers of two."""

    def __init__(self, channels_in: int, channels_out: int, *, layers: int, growth: int) -> None:
        super().__init__()
        self.plan = harmonic_layers(channels_in, layers, growth)
        self.layers = nn.ModuleList(
            _unit(sum(self.plan[at].channels for at in layer.seen), layer.channels, 3) for layer in self.plan[1:]
        )
        self.kept = tuple(at for at in range(1, layers + 1) if at % 2 or at == layers)
        self.out = _unit(sum(self.plan[at].channels for at in self.kept), channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_in, I, J, K) -> (N, channels_out, I, J, K)."""
        outputs = [x]
        for convolution, layer in zip(self.layers, self.plan[1:], strict=True):
            outputs.append(convolution(torch.cat([outputs[at] for at in layer.seen], dim=1)))
        joined: Tensor = self.out(torch.cat([outputs[at] for at in self.kept], dim=1))
        return joined


def harmonic_layers(channels_in: int, layers: int, growth: int) -> tuple[HarmonicLayer, ...]:
    """Return the input and the layers of a block.

    A layer whose number holds 2^n has growth * FACTOR^n channels, made even.
    """
    plan = [HarmonicLayer((), channels_in)]
    for number in range(1, layers + 1):
        powers = [power for power in range(number.bit_length()) if number % 2**power == 0]
        channels = int(growth * FACTOR ** max(powers))
        plan.append(HarmonicLayer(tuple(number - 2**power for power in powers), 2 * ((channels + 1) // 2)))
    return tuple(plan)


def _unit(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv3d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.InstanceNorm3d(channels_out, affine=True), nn.Mish())
