"""A 2D UNet++ on an Xception encoder, for slices of brain tumours.

"Multi-plane UNet++ Ensemble for Glioblastoma Segmentation", BrainLes 2021. Stated there: an Xception encoder with four
input channels; a decoder of five stages X(4,1) to X(0,5) and the nested nodes between them; each node is twice a
convolution of 3 x 3, a batch norm, a ReLU; X(i,j) sees X(i+1,j-1), doubled (nearest), beside all X(i,k) with k < j;
widths of 16 to 256; softmax over four classes; no deep supervision. The encoder is that of Chollet, "Xception: Deep
Learning with Depthwise Separable Convolutions", CVPR 2017, figure 5, as libraries pad it for segmentation ("same").

Not stated, chosen: a node of level i has 2^(i+4) channels (the paper's 2^(j+3) gives 16 to 256 in one direction only);
X(i,0) are the last maps of the encoder at each resolution, 64, 128, 256, 728 and 2048 channels; at full resolution
there is none, and so only X(0,5). No number of parameters is stated.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

XCEPTION: Final = (32, 64, 128, 256, 728, 1024, 1536, 2048)
"""Two stem convolutions, three entry blocks, the exit block and its two separable convolutions."""
MIDDLE_BLOCKS: Final = 8
FINEST: Final = 16


class XceptionUNetPlusPlus(nn.Module):
    """(N, channels_in, H, W), sides multiples of 32, to (N, classes, H, W): softmax.

    Args:
        channels_in: number of MR sequences.
        classes: number of classes, background included.
        encoder: numbers of channels of Xception.
        middle_blocks: number of blocks of Xception's middle flow.
        finest: number of channels of the finest node, doubled at each level below it.
    """

    def __init__(
        self,
        channels_in: int = 4,
        classes: int = 4,
        encoder: Sequence[int] = XCEPTION,
        middle_blocks: int = MIDDLE_BLOCKS,
        finest: int = FINEST,
    ) -> None:
        super().__init__()
        self.encoder = Xception(channels_in, encoder, middle_blocks)
        found = (0, encoder[1], encoder[2], encoder[3], encoder[4], encoder[7])
        nodes: dict[str, nn.Module] = {}
        for j in range(1, 6):
            for i in range(5 - j, -1, -1):
                if i == 0 and j < 5:
                    continue
                width = finest * 2**i
                below = found[i + 1] if j == 1 else 2 * width
                seen = found[i] + (j - 1) * width if i else 0
                nodes[f"{i}_{j}"] = _node(below + seen, width)
        self.nodes = nn.ModuleDict(nodes)
        self.head = nn.Conv2d(finest, classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities at the input's resolution."""
        rows: list[list[Tensor]] = [[], *([each] for each in self.encoder(x))]
        for j in range(1, 6):
            for i in range(1, 6 - j):
                below = functional.interpolate(rows[i + 1][j - 1], scale_factor=2.0, mode="nearest")
                rows[i].append(self.nodes[f"{i}_{j}"](torch.cat((below, *rows[i]), dim=1)))
        last = self.nodes["0_5"](functional.interpolate(rows[1][4], scale_factor=2.0, mode="nearest"))
        return torch.softmax(self.head(last), dim=1)


class Xception(nn.Module):
    """The maps at 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution."""

    def __init__(self, channels_in: int, widths: Sequence[int], middle_blocks: int) -> None:
        super().__init__()
        stem, first, second, third, middle, exit_, wide, widest = widths
        self.stem = nn.Sequential(
            *_unit(nn.Conv2d(channels_in, stem, 3, 2, 1, bias=False)),
            *_unit(nn.Conv2d(stem, first, 3, 1, 1, bias=False)),
        )
        self.entry = nn.ModuleList(
            (
                XceptionBlock((first, second, second), stride=2, begins_active=False),
                XceptionBlock((second, third, third), stride=2),
                XceptionBlock((third, middle, middle), stride=2),
            )
        )
        self.middle = nn.Sequential(*(XceptionBlock((middle,) * 4) for _ in range(middle_blocks)))
        self.exit = nn.Sequential(
            XceptionBlock((middle, middle, exit_), stride=2),
            *_unit(Separable(exit_, wide)),
            *_unit(Separable(wide, widest)),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) -> five maps, finest first."""
        maps = [self.stem(x)]
        for block in self.entry:
            maps.append(block(maps[-1]))
        return (*maps, self.exit(self.middle(maps[-1])))


class XceptionBlock(nn.Module):
    """Separable convolutions with batch norms, each behind a ReLU, beside a skip; pooled where it has a stride."""

    def __init__(self, widths: tuple[int, ...], stride: int = 1, *, begins_active: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise(widths)):
            if number or begins_active:
                layers.append(nn.ReLU())
            layers += [Separable(before, after), nn.BatchNorm2d(after)]
        if stride > 1:
            layers.append(nn.MaxPool2d(3, stride, 1))
        self.layers = nn.Sequential(*layers)
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or widths[0] != widths[-1]:
            convolution = nn.Conv2d(widths[0], widths[-1], 1, stride, bias=False)
            self.skip = nn.Sequential(convolution, nn.BatchNorm2d(widths[-1]))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> channels and sides of the block."""
        return self.layers(x) + self.skip(x)  # type: ignore[no-any-return]


class Separable(nn.Sequential):
    """A 3 x 3 convolution of each channel, then one of 1 x 1 across them; no biases."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False),
            nn.Conv2d(channels_in, channels_out, 1, bias=False),
        )
        self.out_channels = channels_out


def _unit(convolution: nn.Conv2d | Separable) -> tuple[nn.Module, ...]:
    return convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()


def _node(channels_in: int, channels_out: int) -> nn.Sequential:
    first = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    second = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
    return nn.Sequential(*_unit(first), *_unit(second))
