"""MeshNet: a plain chain of dilated convolutions at full resolution.

Fedorov et al., "End-to-end learning of brain tissue segmentation from imperfect labeling", IJCNN 2017 (arXiv
1612.00940). Weights and layer lists: neuroneural/brainchop-models (commit 3d81b598), `model.json` and `model.pth` of
`model5_gw_ae` and `subcortical`. Both lists have `bnorm` false and `dropout_p` 0, so neither layer exists here; they
differ in channels, classes and activation. `elu` is absent from the list of `model5_gw_ae`: it uses ReLU, as the
TensorFlow.js original of the same weights states.

Later MeshNets (niivue/niivue-tinygrad, commit ff10415) differ in the dilations too; `mindgrab` normalises each channel
after each convolution and has no bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

DILATIONS: Final = (1, 2, 4, 8, 16, 8, 4, 2, 1)
"""Dilations of the 3x3x3 convolutions, first to last. The receptive field is 93 voxels."""


class MeshNetActivation(Enum):
    """Layers after each dilated convolution, as the layer list of the weights names them."""

    RELU = "relu"
    ELU = "elu"
    GELU = "gelu"
    """With the approximation by the hyperbolic tangent, as the published programs compute GELU."""


@dataclass(frozen=True)
class MeshNetConfig:
    """Differences between one MeshNet of brainchop and another.

    Attributes:
        channels: number of channels of every hidden layer.
        classes: number of classes of the output, background included.
        activation: activation after every layer but the last.
        dilations: dilations of the 3x3x3 convolutions, first to last.
        has_norm: True for a norm of each channel after each convolution, which then has no bias.
    """

    channels: int
    classes: int
    activation: MeshNetActivation
    dilations: tuple[int, ...] = DILATIONS
    has_norm: bool = False


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
        for dilation in config.dilations:
            layers.extend(_block(config, channels_in, dilation))
            channels_in = config.channels
        last = nn.Conv3d(channels_in, config.classes, kernel_size=1, bias=not config.has_norm)
        self.model = nn.Sequential(*layers, last)

    def forward(self, x: Tensor) -> Tensor:
        """One logit per class and voxel."""
        logits: Tensor = self.model(x)
        return logits


def _block(config: MeshNetConfig, channels_in: int, dilation: int) -> Iterator[nn.Module]:
    """Yield a dilated convolution and the layers up to the next one."""
    channels, has_bias = config.channels, not config.has_norm
    yield nn.Conv3d(channels_in, channels, 3, padding=dilation, dilation=dilation, bias=has_bias)
    if config.has_norm:
        yield nn.GroupNorm(num_groups=channels, num_channels=channels, affine=False)
    yield _activation(config.activation)


def _activation(activation: MeshNetActivation) -> nn.Module:
    if activation is MeshNetActivation.GELU:
        return nn.GELU(approximate="tanh")
    return nn.ELU(inplace=True) if activation is MeshNetActivation.ELU else nn.ReLU(inplace=True)
