"""deepbet's LinkNet in 3D: a residual encoder, a decoder that adds the encoder's features, instance norms throughout.

Chaurasia and Culurciello, "LinkNet: Exploiting encoder representations for efficient semantic segmentation", VCIP
2017; deepbet: Fisch et al., Computers in Biology and Medicine 179 (2024) 108845. Strides, kernels and paddings are
those of the graphs in `model.pt` and `bbox_model.pt` (PyPI deepbet 1.0.2, MIT), which also give the key names.
The norms have neither scale and shift nor running statistics.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from torch import Tensor, nn
from torch.nn import functional

_conv = partial(nn.Conv3d, kernel_size=3, padding=1, bias=False)
_conv1 = partial(nn.Conv3d, kernel_size=1, bias=False)


class LinkNet3d(nn.Module):
    """(1, 1, I, J, K), sides multiples of 32 and at least 64, to (1, 2, I, J, K): softmax over background, brain.

    Args:
        width: number of channels of the finest encoder level, a multiple of 4. Each level below has
            twice as many.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        first, second, third, fourth = (width * 2**level for level in range(4))
        stem = nn.Conv3d(1, first, kernel_size=7, stride=2, padding=3, bias=False)
        self.init = nn.Sequential(*_normed(stem, first), nn.MaxPool3d(kernel_size=3, stride=2, padding=1))
        self.down0 = _down(first, first, stride=1)
        self.down1 = _down(first, second)
        self.down2 = _down(second, third)
        self.down3 = _down(third, fourth)
        self.up0 = _up(fourth, third)
        self.up1 = _up(third, second)
        self.up2 = _up(second, first)
        self.up3 = _up(first, first, stride=1)
        self.tp_conv1 = _normed(_transposed(first, first // 2, stride=2, bias=True), first // 2)
        self.conv = _normed(_conv(first // 2, first // 2, bias=True), first // 2)
        self.tp_conv2 = nn.ConvTranspose3d(first // 2, 2, kernel_size=2, stride=2)
        self.softmax = nn.Softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities at the input's resolution."""
        quarter = self.init(x)
        level0 = self.down0(quarter)
        level1 = self.down1(level0)
        level2 = self.down2(level1)
        x = self.up0(self.down3(level2)) + level2
        x = self.up1(x) + level1
        x = self.up2(x) + level0
        x = self.up3(x) + quarter
        probabilities: Tensor = self.softmax(self.tp_conv2(self.conv(self.tp_conv1(x))))
        return probabilities


class _Residual(nn.Module):
    """Post-activation residual block; its shortcut is a strided 1x1x1 convolution where the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        first = _normed(_conv(channels_in, channels_out, stride=stride), channels_out)
        second = _conv(channels_out, channels_out)
        self.double_conv = nn.Sequential(*first, second, nn.InstanceNorm3d(channels_out))
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            shortcut = _conv1(channels_in, channels_out, stride=stride)
            self.downsample = nn.Sequential(shortcut, nn.InstanceNorm3d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.double_conv(x) + self.downsample(x))


def _down(channels_in: int, channels_out: int, stride: int = 2) -> nn.Sequential:
    """Two residual blocks, the first with the stride."""
    first = _Residual(channels_in, channels_out, stride)
    second = _Residual(channels_out, channels_out, stride=1)
    return nn.Sequential(OrderedDict(block1=first, block2=second))


def _up(channels_in: int, channels_out: int, stride: int = 2) -> nn.Sequential:
    """1x1x1 convolution to a quarter of the channels, transposed convolution with the stride, 1x1x1 convolution."""
    narrow = channels_in // 4
    reduce = _normed(_conv1(channels_in, narrow), narrow)
    enlarge = _normed(_transposed(narrow, narrow, stride, bias=False), narrow)
    expand = _normed(_conv1(narrow, channels_out), channels_out)
    return nn.Sequential(OrderedDict(conv1=reduce, tp_conv=enlarge, conv2=expand))


def _normed(convolution: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.InstanceNorm3d(channels), nn.ReLU(inplace=True))


def _transposed(channels_in: int, channels_out: int, stride: int, bias: bool) -> nn.ConvTranspose3d:
    """Return a transposed convolution of kernel 3 whose output is exactly `stride` times as large."""
    return nn.ConvTranspose3d(
        channels_in, channels_out, 3, stride=stride, padding=1, output_padding=stride - 1, bias=bias
    )
