"""Window attention in parts: windows of a Swin transformer do not see each other, and need not be there at once.

MONAI's `WindowAttention` (`monai/networks/nets/swin_unetr.py`) multiplies queries and keys of all windows of a volume
in one product. At the first level of Swin UNETR, 64^3 tokens in windows of 7^3, that is 1000 windows x 3 heads x 343^2
numbers, 1.3 GiB, and its softmax is another. Here the windows go through the same layer a part at a time and are joined
again: every number is computed from the same ones as before (docs/decisions/0025).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

PART_BYTES: Final = 192 * 2**20
"""Of the product of queries and keys of one part, in f32."""
FLOAT_BYTES: Final = 4


class AttentionInParts(nn.Module):
    """A `WindowAttention` that sees as many windows at a time as `most_bytes` allow.

    Args:
        attention: the layer, with `num_heads`.
        most_bytes: of a product of queries and keys; one window at a time where a single one is larger.
    """

    def __init__(self, attention: nn.Module, most_bytes: int = PART_BYTES) -> None:
        super().__init__()
        self.attention = attention
        self.heads = cast("int", attention.num_heads)
        self.most_bytes = most_bytes

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within windows.

        Args:
            x: (windows, tokens, channels), of all images of a batch.
            mask: (windows of an image, tokens, tokens), added to the product; None where windows are not shifted.
        """
        if mask is None:
            return torch.cat(self._parts(x, None))
        if mask.shape[0] != x.shape[0]:
            # several images share the mask, and a part would be none of whole images
            attended: Tensor = self.attention(x, mask)
            return attended
        # only windows at the seam of a shift are masked: for all others the mask would be a large constant of zeros.
        # Which they are follows from the sides of the volume, so that lists of numbers are what the tracer shall see
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
    """Names of the layers that attend within windows."""
    # by name: MONAI is an extra, and nothing of it is loaded for a network that is not its own
    return [
        name
        for name, layer in module.named_modules()
        if type(layer).__name__ == "WindowAttention" and type(layer).__module__.startswith("monai.")
    ]


def attend_in_parts(module: nn.Module, names: list[str]) -> None:
    """Let the named layers see their windows in parts; the module is changed in place."""
    for name in names:
        parent, _dot, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, AttentionInParts(module.get_submodule(name)))
