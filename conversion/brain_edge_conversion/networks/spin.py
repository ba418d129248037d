"""SPiN: a small network embeds a slice at twice its resolution and guides a U-Net there, which then votes its way back.

Wong, Chen, Wu, Cao, Liu, Soatto, "Small Lesion Segmentation in Brain MRIs with Subpixel Embedding", BrainLes 2021, and
the published source (alexklwong/subpixel-embedding-segmentation at cc82c50: `spin_model.py`, `networks.py`, the script
`train_spin_atlas_traintest.sh`). Five slices in, the middle one out.

- Encoder: ResNet-18 of 32, 64, 128, 196, 196 filters, batch norms, LeakyReLU 0.1 (script; the paper says no filters).
- Subpixel embedding: a 5 x 5 convolution, two ResNet blocks, a 3 x 3 convolution, 16 filters each, added to the first;
  1 x 1 to 64 channels, depth to space (2x, 16 channels), 3 x 3 to 8. The paper's text has depth to space from 16 to 4
  channels and a 1 x 1 after it; its 16 thousand parameters are those of the source, which is followed.
- Guidance: the embedding itself, and it again through space to depth, each through 3 x 3 to 8 channels, are the skips
  of the decoder at 2x and 1x. Decoder of 196, 128, 64, 32, 16, 16 filters; each level is resized to its skip (nearest).
- Head: 3 x 3 to one channel at 2x. Learnt downsampler: space to depth, two 3 x 3 of 16, 1 x 1 to four weights, softmax,
  and the weighted sum of the four values under each pixel: 11 thousand parameters. The paper's text has the sigmoid
  before that sum, the source after it, which is followed.

5.3 million parameters in the paper. The source keeps a projection in each ResNet block, also where nothing is
projected; those are not here, which makes 5.2 million.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE: Final = 0.1
ENCODER: Final = (32, 64, 128, 196, 196)
EMBEDDING: Final = 16
GUIDANCE: Final = 8


class SPiN(nn.Module):
    """(N, slices, H, W), any sides from 32 on, to (N, 1, H, W): sigmoid.

    Args:
        slices: number of neighbouring slices as channels. The middle one is segmented.
        widths: numbers of filters of the encoder's levels.
        embedding: number of filters of the subpixel embedding.
    """

    def __init__(self, slices: int = 5, widths: tuple[int, ...] = ENCODER, embedding: int = EMBEDDING) -> None:
        super().__init__()
        first, second, third, fourth, fifth = widths
        self.embed = SubpixelEmbedding(slices, embedding)
        self.guide_fine = _unit(GUIDANCE, GUIDANCE, 3)
        self.guide = _unit(4 * GUIDANCE, GUIDANCE, 3)
        self.stem = _unit(slices, first, 7, stride=2)
        self.levels = nn.ModuleList(
            (
                nn.Sequential(nn.MaxPool2d(3, 2, 1), *_blocks(first, second, 1)),
                nn.Sequential(*_blocks(second, third, 2)),
                nn.Sequential(*_blocks(third, fourth, 2)),
                nn.Sequential(*_blocks(fourth, fifth, 2)),
            )
        )
        skips = (fourth, third, second, first, GUIDANCE, GUIDANCE)
        decoded = (fifth, third, second, first, embedding, embedding)
        self.up = nn.ModuleList(
            UpBlock(before, skip, after) for before, skip, after in zip((fifth, *decoded), skips, decoded, strict=False)
        )
        self.fine = nn.Conv2d(embedding, 1, 3, padding=1, bias=False)
        self.vote = LearntDownsampler(embedding)

    def forward(self, x: Tensor) -> Tensor:
        """Probability of a lesion at the input's resolution."""
        embedded = self.embed(x)
        skips = [self.guide_fine(embedded), self.guide(functional.pixel_unshuffle(embedded, 2))]
        x = self.stem(x)
        for level in self.levels:
            skips.append(x)
            x = level(x)
        for up, skip in zip(self.up, skips[::-1], strict=True):
            x = up(x, skip)
        return torch.sigmoid(self.vote(x, self.fine(x)))


class SubpixelEmbedding(nn.Module):
    """(N, C, H, W) -> (N, GUIDANCE, 2 H, 2 W)."""

    def __init__(self, channels_in: int, width: int) -> None:
        super().__init__()
        self.first = _unit(channels_in, width, 5)
        self.blocks = nn.Sequential(ResNetBlock(width, width), ResNetBlock(width, width))
        self.last = _unit(width, width, 3)
        self.widen = _unit(width, 4 * width, 1)
        self.out = nn.Conv2d(width, GUIDANCE, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features at twice the resolution."""
        first = self.first(x)
        x = self.last(self.blocks(first)) + first
        embedded: Tensor = self.out(functional.pixel_shuffle(self.widen(x), 2))
        return embedded


class ResNetBlock(nn.Module):
    """Two units beside a skip, which is projected where the shape changes; an activation after the sum."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.first = _unit(channels_in, channels_out, 3, stride)
        self.second = _unit(channels_out, channels_out, 3)
        changes = stride != 1 or channels_in != channels_out
        self.projection: nn.Module = (
            nn.Conv2d(channels_in, channels_out, 1, stride, bias=False) if changes else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> channels and sides of the block."""
        return functional.leaky_relu(self.second(self.first(x)) + self.projection(x), SLOPE)


class UpBlock(nn.Module):
    """Nearest resizing to the skip, a unit, the skip beside it, a unit."""

    def __init__(self, channels_in: int, channels_skip: int, channels_out: int) -> None:
        super().__init__()
        self.up = _unit(channels_in, channels_out, 3)
        self.join = _unit(channels_out + channels_skip, channels_out, 3)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(N, C, h, w), (N, S, H, W) -> (N, D, H, W)."""
        x = self.up(functional.interpolate(x, size=skip.shape[2:], mode="nearest"))
        joined: Tensor = self.join(torch.cat((x, skip), dim=1))
        return joined


class LearntDownsampler(nn.Module):
    """Each pixel is a mean of the four values that lie in it, with weights that the features say."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(4 * width, 16, 3, padding=1, bias=False),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(16, 16, 3, padding=1, bias=False),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(16, 4, 1, bias=False),
        )

    def forward(self, features: Tensor, values: Tensor) -> Tensor:
        """(N, C, 2 H, 2 W), (N, 1, 2 H, 2 W) -> (N, 1, H, W)."""
        weights = torch.softmax(self.convolutions(functional.pixel_unshuffle(features, 2)), dim=1)
        return (weights * functional.pixel_unshuffle(values, 2)).sum(dim=1, keepdim=True)


def _blocks(channels_in: int, channels_out: int, stride: int) -> tuple[nn.Module, nn.Module]:
    return ResNetBlock(channels_in, channels_out, stride), ResNetBlock(channels_out, channels_out)


def _unit(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.LeakyReLU(SLOPE))
