"""MONAI's residual U-Net with a variational autoencoder, of which the segmenting half is run.

Myronenko, "3D MRI brain tumor segmentation using autoencoder regularization", BrainLes 2018 (arXiv 1810.11654), as
`monai.networks.nets.SegResNetVAE`. The autoencoder's layers are there until they are cut off, so that a state dict of
that class loads as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai.networks.nets import SegResNet, SegResNetVAE

if TYPE_CHECKING:
    from torch import Tensor


class VaeUNet(SegResNetVAE):  # type: ignore[misc]  # MONAI ships no types
    """(1, channels_in, I, J, K), sides multiples of 8, to logits (1, classes, I, J, K).

    Args:
        channels_in: number of MR sequences.
        classes: number of classes. The paper has background, ET, TC, WT.
        width: number of channels of the finest level, a multiple of 8. Myronenko has 32.
        side: side of the patches of the training, in voxels. The autoencoder's layers depend on it.
    """

    def __init__(self, channels_in: int = 4, classes: int = 4, width: int = 32, side: int = 144) -> None:
        super().__init__((side, side, side), init_filters=width, in_channels=channels_in, out_channels=classes)

    def without_autoencoder(self) -> VaeUNet:
        """The same object, its layers for training alone removed."""
        for name in [name for name, _ in self.named_children() if name.startswith("vae_")]:
            delattr(self, name)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Logits at the input's resolution; nothing of the autoencoder runs."""
        logits: Tensor = SegResNet.forward(self, x)
        return logits
