"""A chain of dilated convolutions with one halving: the "robust" networks of brainchop.

No paper describes it. Order, strides, dilations and activations are those of the programs that niivue/niivue-tinygrad
(commit ff10415) publishes with the weights, `net_robust_tissue.js` and `net_big_robust_tissue.js`. There are no skip
connections and no norms; the transposed convolution has no activation.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

OUTER: Final = (1, 2, 4, 6, 8)
"""Dilations at full resolution before the halving; after it in reverse."""
INNER: Final = (10, 12, 16, 12, 10)
"""Dilations at half resolution."""


class DilatedAutoencoder(nn.Module):
    """(1, 1, I, J, K), even sides, to (1, classes, I, J, K): logits.

    Args:
        width: number of channels at full resolution; twice as many at half resolution.
        classes: number of classes of the output, background included.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        outer = [_dilated(width, dilation) for dilation in OUTER]
        outer[0] = nn.Conv3d(1, width, 3, padding=1)
        halving = nn.Conv3d(width, 2 * width, 3, stride=2, padding=1)
        inner = [_dilated(2 * width, dilation) for dilation in INNER]
        doubling = nn.ConvTranspose3d(2 * width, width, 2, stride=2)
        back = [_dilated(width, dilation) for dilation in reversed(OUTER)]
        last = nn.Conv3d(width, classes, kernel_size=1)
        self.layers = nn.ModuleList([*outer, halving, *inner, doubling, *back, last])

    def forward(self, x: Tensor) -> Tensor:
        """One logit per class and voxel."""
        for layer in self.layers[:-1]:
            x = layer(x)
            if not isinstance(layer, nn.ConvTranspose3d):
                x = functional.silu(x)
        logits: Tensor = self.layers[-1](x)
        return logits


def _dilated(channels: int, dilation: int) -> nn.Conv3d:
    return nn.Conv3d(channels, channels, 3, padding=dilation, dilation=dilation)
