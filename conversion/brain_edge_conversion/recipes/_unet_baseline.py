"""What the recipes of the U-Net baselines share: the stock U-Net of TorchIO's author in six settings.

"BRATS2021: Exploring Each Sequence in Multi-modal Input for Baseline U-net Performance", BrainLes 2021.

- Table of the models: the U-Net that goes with TorchIO, here the library itself (`unet` on PyPI, MIT, by TorchIO's
  author). M1: 3 encoding blocks, 4 channels in the first layer, patches of 64^3, batch norm, ReLU, linear upsampling;
  M2: patches of 128^3; M3: 5 blocks, PReLU; M4: 16 channels, instance norm, LeakyReLU; M5: as M3 with each norm and
  activation before its convolution; M6: as M5 with 16 channels. The library doubles the channels within a block and
  from block to block.
- Pre-processing: TorchIO's HistogramStandardization with landmarks of the training set, then ZNormalization,
  both over the foreground; see `brain_edge_conversion.recipes._landmarks`. Chosen: the foreground is what is not 0.
- Results: four sequences, the pair of T1w after contrast and FLAIR, and single ones; here each model with
  four, and M6 also with the pair, which the paper finds as good.
- Loss: cross-entropy and Dice. The number of channels out is not stated; chosen: background and three labels, softmax.
- How a case is tiled is not stated; chosen: windows of the patch without a planned overlap, TorchIO's default; those at
  the border are pushed back into the image, and overlaps are averaged.
- Weights: the authors share code and trained weights (abstract, conclusion); no registry holds them.
- No ensemble, no mirroring, no clean-up. Order of the sequences: not stated; chosen: T1w, T1w after contrast, T2w,
  FLAIR. Storage: as BraTS stores, LPS.

No number of parameters is stated; those of the models here are counted in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from brain_edge.package.manifest import Card
from brain_edge.spec import Activation, Blending, ModelSpec, Network, Sequence, SlidingWindow, Stage
from brain_edge.spec.steps import Argmax, Orient, Region, ZScore
from brain_edge_conversion.recipe import GraphSource, ModelSource, Recipe
from brain_edge_conversion.recipes._landmarks import NO_LANDMARKS, only_random, stand_in_landmarks
from brain_edge_conversion.recipes._tumour import (
    BACKGROUND,
    BRATS_LABELS,
    COHORT,
    LABELS_BACK,
    LICENCE,
    LIMITS,
    SEQUENCES,
    STAND_IN,
    tumour_spec,
)

if TYPE_CHECKING:
    from torch import nn

CITATION: Final = (
    '"BRATS2021: Exploring Each Sequence in Multi-modal Input for Baseline U-net Performance", BrainLes 2021'
)


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A row of the paper's table.

    Attributes:
        name: of the recipe.
        module: in which its `RECIPE` and its `network` are.
        blocks: resolutions.
        channels: of the first layer.
        patch: side of the windows.
        norm: `batch` or `instance`.
        activation: as PyTorch calls it.
        preactivation: norm and activation come before their convolution.
        figures: what the paper reports.
        inputs: the sequences.
    """

    name: str
    module: str
    blocks: int = 5
    channels: int = 4
    patch: int = 128
    norm: str = "batch"
    activation: str = "PReLU"
    preactivation: bool = False
    figures: str = "none for four sequences"
    inputs: tuple[Sequence, ...] = SEQUENCES

    def network(self) -> nn.Module:
        """(1, C, I, J, K), sides multiples of 2^(blocks - 1), to logits (1, 4, I, J, K)."""
        from unet import UNet

        network: nn.Module = UNet(
            in_channels=len(self.inputs),
            out_classes=len(BRATS_LABELS) + 1,
            dimensions=3,
            num_encoding_blocks=self.blocks,
            out_channels_first_layer=self.channels,
            normalization=self.norm,
            upsampling_type="linear",
            preactivation=self.preactivation,
            padding=True,
            activation=self.activation,
        )
        return network

    def spec(self, patch: int | None = None) -> ModelSpec:
        """The steps around the network, in windows of the paper's patch unless stated."""
        side = patch or self.patch
        stage = Stage(
            name="tumour",
            before=(Orient(axes="LPS"), stand_in_landmarks(len(self.inputs)), ZScore(region=Region.NONZERO)),
            network=Network(
                graphs=("model",),
                channels_in=len(self.inputs),
                channels_out=len(BRATS_LABELS) + 1,
                activation=Activation.SOFTMAX,
                execution=SlidingWindow(shape=(side, side, side), overlap=0.0, blending=Blending.CONSTANT),
            ),
            after=(
                Argmax(values=(BACKGROUND, *(label.value for label in BRATS_LABELS))),
                LABELS_BACK,
            ),
        )
        return tumour_spec(self.name, stage, inputs=self.inputs)

    def graphs(self) -> tuple[GraphSource, ...]:
        """The network."""
        return (GraphSource("model", only_random(self.network, f"{self.module}:network"), None, (32, 32, 32)),)

    def recipe(self) -> Recipe:
        """By its name."""
        what = f"{self.blocks} levels, {self.channels} channels, {self.norm} norm, {self.activation}"
        card = Card(
            summary=f"Brain tumour compartments of {len(self.inputs)} sequences by a small stock U-Net: {what}.",
            citation=CITATION,
            published_figures=self.figures,
            limits=f"{LIMITS} The paper shares its weights; their landmarks have to come with them.",
        )
        return Recipe(
            name=self.name,
            summary=f"brain tumour compartments, stock U-Net, {what}; bring weights and landmarks",
            model=lambda _variant: ModelSource(self.spec(), self.graphs(), card, LICENCE),
            weights=NO_LANDMARKS,
            cohort=COHORT,
            parity_phantom=STAND_IN,
        )
