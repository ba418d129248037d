"""The 2D U-Net that was trained on synthetic brain slices.

Foroozandeh, Eklund, "Synthesizing brain tumor images and annotations by combining progressive growing GAN and SPADE"
(arXiv 2009.05946), section 3.1: four levels of two "same" convolutions, each followed by a batch norm, of 64, 128, 256,
512 channels; max pooling; a bridge of one convolution with 1024; transposed convolutions of 3 x 3 with stride 2, "same"
padding and a batch norm; skips that are concatenated; a softmax. The program is Keras', whose "same" padding of these
transposed convolutions leaves out the last row and the last column. Not stated, chosen: convolutions of 3 x 3, ReLU
behind each norm of a convolution (none behind the transposed ones), pooling of 2 x 2, a last convolution of 1 x 1,
PyTorch's epsilon of the norms, what comes from below before the skip.

Images are divided by the greatest value of the training set, and its mean is subtracted. These two numbers belong to
the weights and are part of them here (`training_maximum`, `training_mean`): weights that lack them are refused.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STAND_IN_MAXIMUM = 1000.0
STAND_IN_MEAN = 0.1
"""For random weights: about those of the phantom."""


class UNet2D(nn.Module):
    """(N, channels_in, H, W), sides multiples of 16, intensities as they come, to (N, classes, H, W): softmax.

    Args:
        classes: number of classes, background included.
        channels_in: number of MR sequences. The paper has one, T1w after contrast.
        width: number of channels of the finest level, doubled at each of the four levels below it.
    """

    training_maximum: Tensor
    training_mean: Tensor

    def __init__(self, classes: int, channels_in: int = 1, width: int = 64) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.register_buffer("training_maximum", torch.tensor(STAND_IN_MAXIMUM))
        self.register_buffer("training_mean", torch.tensor(STAND_IN_MEAN))
        self.pool = nn.MaxPool2d(2)
        self.down = nn.ModuleList(
            _double(before, after) for before, after in zip((channels_in, *widths), widths[:-1], strict=False)
        )
        self.down.append(nn.Sequential(*_unit(widths[-2], widths[-1])))
        self.up = nn.ModuleList(_up(2 * finer, finer) for finer in widths[-2::-1])
        self.joined = nn.ModuleList(_double(2 * finer, finer) for finer in widths[-2::-1])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities at the input's resolution."""
        x = x / self.training_maximum - self.training_mean
        skips: list[Tensor] = []
        for block in self.down:
            x = block(self.pool(x) if skips else x)
            skips.append(x)
        for up, joined, skip in zip(self.up, self.joined, skips[-2::-1], strict=True):
            x = joined(torch.cat((up(x), skip), dim=1))
        return torch.softmax(self.head(x), dim=1)


def _double(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(*_unit(channels_in, channels_out), *_unit(channels_out, channels_out))


def _unit(channels_in: int, channels_out: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1)
    return convolution, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)


class SameTransposed(nn.ConvTranspose2d):
    """A transposed convolution of 3 x 3 with stride 2 and Keras' "same" padding: exactly twice the sides."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # its output size is fixed
        """(N, channels_in, H, W) -> (N, channels_out, 2 H, 2 W)."""
        return super().forward(x)[..., :-1, :-1]


def _up(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(SameTransposed(channels_in, channels_out), nn.BatchNorm2d(channels_out))
