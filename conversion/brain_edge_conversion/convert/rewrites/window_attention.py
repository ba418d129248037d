"""Window attention in parts: the windows of a Swin transformer are independent and need not be in memory together.

MONAI's `WindowAttention` (`monai/networks/nets/swin_unetr.py`) multiplies queries and keys of all windows of a volume
in one product. At the first level of Swin UNETR (64^3 tokens in windows of 7^3) this product has 1000 windows x 3 heads
x 343^2 numbers, 1.3 GiB, and its softmax takes as much again. Here the windows pass through the same layer in parts and
are joined again; every number is computed from the same inputs as before (docs/decisions/0025).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

PART_BYTES: Final = 192 * 2**20
"""Bytes of the product of queries and keys of one part, in f32."""
FLOAT_BYTES: Final = 4


class AttentionInParts(nn.Module):
    """`WindowAttention` that processes as many windows at a time as `most_bytes` allows.

    Args:
        attention: attention layer, with `num_heads`.
        most_bytes: largest product of queries and keys, in bytes; a window that needs more is processed alone.
    """

    def __init__(self, attention: nn.Module, most_bytes: int = PART_BYTES) -> None:
        super().__init__()
        self.attention = attention
        self.heads = cast("int", attention.num_heads)
        self.most_bytes = most_bytes

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within windows.

        Args:
            x: tokens of all images of a batch, (windows, tokens, channels).
            mask: mask added to the product, (windows of an image, tokens, tokens); None if windows are not shifted.
        """
        if mask is None:
            return torch.cat(self._parts(x, None))
        if mask.shape[0] != x.shape[0]:
            # several images share the mask, and a part would not consist of whole images
            attended: Tensor = self.attention(x, mask)
            return attended
        # only windows at the seam of a shift are masked: for all others the mask would be a large constant of zeros.
        # The masked windows follow from the sides of the volume, so the tracer gets them as lists of numbers
        masked: list[bool] = mask.flatten(1).ne(0).any(1).tolist()
        inside = [window for window, at_seam in enumerate(masked) if not at_seam]
        seam = [window for window, at_seam in enumerate(masked) if at_seam]
        joined = torch.cat([*self._parts(x[inside], None), *self._parts(x[seam], mask[seam])])
        place = {window: number for number, window in enumerate([*inside, *seam])}
        return joined[[place[window] for window in range(len(masked))]]

    def _parts(self, x: Tensor, mask: Tensor | None) -> list[Tensor]:
        windows, tokens = int(x.shape[0]), int(x.shape[1])
        in_part = max(1, self.most_bytes // (self.heads * tokens * tokens * FLOAT_BYTES))
        return [
            self.attention(x[first : first + in_part], None if mask is None else mask[first : first + in_part])
            for first in range(0, windows, in_part)
        ]


def window_attentions(module: nn.Module) -> list[str]:
    """Return the names of the layers that attend within windows."""
    # by name: MONAI is an optional dependency, and is not loaded for other networks
    return [
        name
        for name, layer in module.named_modules()
        if type(layer).__name__ == "WindowAttention" and type(layer).__module__.startswith("monai.")
    ]


def attend_in_parts(module: nn.Module, names: list[str]) -> None:
    """Replace the named layers by layers that process their windows in parts, in place."""
    for name in names:
        parent, _dot, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, AttentionInParts(module.get_submodule(name)))
