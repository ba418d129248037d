"""The generator of Vox2Vox with a convolution in each skip, used as a plain U-Net for brain tumours.

"Multimodal Brain Tumor Segmentation Using Modified UNet Architecture", BrainLes 2021. Stated in its method: kernels of
4 all over; four convolutions of stride 2 on the way down; one of stride 1 behind each of them; three more of stride 1
at the bottom, each of which takes the one before it and what that one took; three transposed convolutions on the way
up, each followed by a concatenation, and a last one to four classes; instance norm behind every convolution (the last
one too) and LeakyReLU of 0.3, at the end a softmax.

Not stated, chosen here: the concatenation on the way up, with the output of the stride-1 convolution of that level, a
refined skip (the text names the blocks at the bottom, whose sides do not fit); the channels, those of Vox2Vox (their
figure is missing); scale and shift of the norms; the start of the chain at the bottom, from the refined and the plain
output of the deepest level; no residual connections, of which the paper claims some and describes none. Dropout is for
training only. No number of parameters is stated that could say whether that is right.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from brain_edge_conversion.networks.vox2vox import SLOPE, down_block, normed, transposed, wide_block

LEVELS: Final = 4
BOTTLENECKS: Final = 3


class ModifiedVox2Vox(nn.Module):
    """(1, channels_in, I, J, K), sides multiples of 16, to (1, classes, I, J, K): softmax. Sides of 32 at least.

    Args:
        channels_in: number of MR sequences. The paper has FLAIR, T1w, T1w after contrast, T2w.
        classes: number of classes. The paper has necrosis, oedema, enhancing, other.
        width: number of channels of the finest level, doubled at each of the three levels below it.
    """

    def __init__(self, channels_in: int = 4, classes: int = 4, width: int = 64) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(LEVELS)]
        self.down = nn.ModuleList(
            down_block(before, after) for before, after in zip([channels_in, *widths], widths, strict=False)
        )
        self.refine = nn.ModuleList(wide_block(each, each) for each in widths)
        self.bottom = nn.ModuleList(wide_block(2 * widths[-1], widths[-1]) for _ in range(BOTTLENECKS))
        self.up = nn.ModuleList(
            normed(transposed(coarse, fine), nn.LeakyReLU(SLOPE, inplace=True))
            for coarse, fine in zip((widths[-1], 2 * widths[-2], 2 * widths[-3]), widths[-2::-1], strict=True)
        )
        self.head = normed(transposed(2 * width, classes), nn.Softmax(dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities at the input's resolution."""
        skips = []
        for down, refine in zip(self.down, self.refine, strict=True):
            x = down(x)
            skips.append(refine(x))
        before, current = x, skips[-1]
        for wide in self.bottom:
            before, current = current, wide(torch.cat((current, before), dim=1))
        x = current
        for up, skip in zip(self.up, skips[-2::-1], strict=True):
            x = torch.cat((up(x), skip), dim=1)
        probabilities: Tensor = self.head(x)
        return probabilities
