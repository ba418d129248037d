"""COTRNet: a 2D U-Net on ResNet-18 with a transformer layer behind each residual stage.

"Combining Global Information with Topological Prior for Brain Tumor Segmentation", BrainLes 2021. Stated there: the
encoder of ResNet-18, an input block and four residual stages, with four transformer encoder layers between them (the
map as a sequence of its pixels, and back); four skips that are concatenated; the decoder of the plain U-Net
(up-convolutions of 2 x 2), batch norm and ReLU behind each convolution; a head of 1 x 1 to four classes, necrosis,
oedema, enhancing and background, coded as nested domains and not one-hot; deep supervision at 14, 28, 56, 112 and 224
pixels, which is for training only and not here. ResNet-18 is that of He et al., CVPR 2016, whose maps of 112, 56, 28,
14 and 7 pixels fit these numbers.

Not stated, chosen: the transformer layers lie behind the residual stages, at 56, 28, 14 and 7 pixels; four heads, an
MLP of four times the width, norms before attention and MLP, no positional encoding, so that any sides run; decoder of
256, 128, 64, 64, 32 channels, no norm behind an up-convolution; a sigmoid for each of the four channels, which is what
the coding in nested domains and the two-sided cross-entropy mean.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS: Final = (64, 128, 256, 512)
DECODER: Final = (256, 128, 64, 64, 32)
HEADS: Final = 4


class COTRNet(nn.Module):
    """(N, channels_in, H, W), sides multiples of 32, to (N, classes, H, W): sigmoid.

    Args:
        channels_in: number of MR sequences.
        classes: number of classes, background included.
        widths: numbers of channels of the residual stages.
        decoder: numbers of channels of the decoder's levels, coarsest first.
    """

    def __init__(
        self,
        channels_in: int = 4,
        classes: int = 4,
        widths: tuple[int, ...] = WIDTHS,
        decoder: tuple[int, ...] = DECODER,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels_in, widths[0], 7, 2, 3, bias=False), *_norm(widths[0]))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.ModuleList(
            nn.Sequential(BasicBlock(before, after, 1 if level == 0 else 2), BasicBlock(after, after))
            for level, (before, after) in enumerate(zip((widths[0], *widths), widths, strict=False))
        )
        self.transformers = nn.ModuleList(TransformerLayer(width) for width in widths)
        skips = (*widths[-2::-1], widths[0], 0)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 2, stride=2)
            for before, after in zip((widths[-1], *decoder), decoder, strict=False)
        )
        self.joined = nn.ModuleList(_double(after + skip, after) for skip, after in zip(skips, decoder, strict=True))
        self.head = nn.Conv2d(decoder[-1], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities of the regions at the input's resolution."""
        skips = [self.stem(x)]
        x = self.pool(skips[0])
        for stage, transformer in zip(self.stages, self.transformers, strict=True):
            x = transformer(stage(x))
            skips.append(x)
        for level, (up, block) in enumerate(zip(self.up, self.joined, strict=True)):
            x = up(x)
            x = block(torch.cat((x, skips[-2 - level]), dim=1) if level < len(skips) - 1 else x)
        return torch.sigmoid(self.head(x))


class TransformerLayer(nn.Module):
    """Self-attention and an MLP, each behind a layer norm and beside a skip, over the pixels of a map."""

    def __init__(self, width: int, heads: int = HEADS) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.before_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        pixels = x.flatten(2).transpose(1, 2)
        split = self.query_key_value(self.before_attention(pixels)).unflatten(2, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        seen = functional.scaled_dot_product_attention(query, key, value)
        pixels = pixels + self.out(seen.transpose(1, 2).flatten(2))
        pixels = pixels + self.mlp(self.before_mlp(pixels))
        back: Tensor = pixels.transpose(1, 2).reshape(x.shape)
        return back


class BasicBlock(nn.Module):
    """ResNet's block of two convolutions."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False), *_norm(channels_out))
        second = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.second = nn.Sequential(second, nn.BatchNorm2d(channels_out))
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or channels_in != channels_out:
            convolution = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
            self.skip = nn.Sequential(convolution, nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> channels and sides of the block."""
        return functional.relu(self.second(self.first(x)) + self.skip(x))


def _double(channels_in: int, channels_out: int) -> nn.Sequential:
    first = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    second = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
    return nn.Sequential(first, *_norm(channels_out), second, *_norm(channels_out))


def _norm(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels), nn.ReLU()
