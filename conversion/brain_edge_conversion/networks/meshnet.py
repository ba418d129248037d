"""MeshNet: a plain chain of dilated convolutions at full resolution.

Fedorov et al., "End-to-end learning of brain tissue segmentation from imperfect labeling", IJCNN 2017 (arXiv
1612.00940). Weights and layer lists: neuroneural/brainchop-models (commit 3d81b598), `model.json` and `model.pth` of
`model5_gw_ae` and `subcortical`. Both lists have `bnorm` false and `dropout_p` 0, so neither layer exists here; they
differ in channels, classes and activation. `elu` is absent from the list of `model5_gw_ae`: it uses ReLU, as the
TensorFlow.js original of the same weights states.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from torch import Tensor, nn

DILATIONS: Final = (1, 2, 4, 8, 16, 8, 4, 2, 1)
"""Dilations of the 3x3x3 convolutions, first to last. The receptive field is 93 voxels."""


class MeshNetActivation(Enum):
    """Layers after each dilated convolution, as the layer list of the weights names them."""

    RELU = nn.ReLU
    ELU = nn.ELU


@dataclass(frozen=True)
class MeshNetConfig:
    """Differences between one MeshNet of brainchop and another.

    Attributes:
        channels: number of channels of every hidden layer.
        classes: number of classes of the output, background included.
        activation: activation after every layer but the last.
    """

    channels: int
    classes: int
    activation: MeshNetActivation


TISSUE: Final = MeshNetConfig(channels=5, classes=3, activation=MeshNetActivation.RELU)
"""`model5_gw_ae`: background, white matter, grey matter."""

SUBCORTICAL: Final = MeshNetConfig(channels=30, classes=18, activation=MeshNetActivation.ELU)
"""`subcortical`: cortical grey and white matter and subcortical structures."""


class MeshNet(nn.Module):
    """(1, 1, I, J, K), any sides, to (1, classes, I, J, K): logits."""

    def __init__(self, config: MeshNetConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels_in = 1
        for dilation in DILATIONS:
            layers.append(nn.Conv3d(channels_in, config.channels, 3, padding=dilation, dilation=dilation))
            layers.append(config.activation.value(inplace=True))
            channels_in = config.channels
        self.model = nn.Sequential(*layers, nn.Conv3d(channels_in, config.classes, kernel_size=1))

    def forward(self, x: Tensor) -> Tensor:
        """One logit per class and voxel."""
        logits: Tensor = self.model(x)
        return logits
