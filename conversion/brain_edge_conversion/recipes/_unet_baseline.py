"""Parts of the recipes of the U-Net baselines: the stock U-Net of TorchIO's author in six settings.

"BRATS2021: Exploring Each Sequence in Multi-modal Input for Baseline U-net Performance", BrainLes 2021.

- Section 2.2, the list of the models: the U-Net that goes with TorchIO, here the library itself (`unet` on PyPI, MIT,
  by TorchIO's author). M1: 3 encoding blocks, 4 channels in the first layer, patches of 64^3, batch norm, ReLU, linear
  upsampling. M2: patches of 128^3, as in all that follow. M3: 5 blocks, PReLU. M4: 16 channels, instance norm,
  LeakyReLU. M5: as M3 with each norm and activation before its convolution. M6: as M5 with 16 channels. The library
  doubles the channels within a block and from block to block.
- Section 2.2, pre-processing: TorchIO's HistogramStandardization with landmarks of the training set, then
  ZNormalization, both over the foreground; see `brain_edge_conversion.recipes._landmarks`. Chosen: the foreground is
  what is not 0.
- Table 2: twelve trained networks, each a model with one set of sequences: four sequences, the pair of T1w after
  contrast and FLAIR, or a single one. `--sequences` chooses a set, and the card has the figures of that set. Without
  `--sequences` the four sequences are taken, which the paper trained M2 and M6 with, and no other model.
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
from functools import partial
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
    from collections.abc import Mapping

    from torch import nn

    from brain_edge_conversion.recipe import Variant

ALL: Final = "T1,T1C,T2,FLAIR"
PAIR: Final = "T1C,FLAIR"
"""Sets of sequences of the paper's table 2, beside the single ones."""

CITATION: Final = (
    '"BRATS2021: Exploring Each Sequence in Multi-modal Input for Baseline U-net Performance", BrainLes 2021'
)


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A model of the paper's list.

    Attributes:
        name: name of the recipe.
        module: module that holds its `RECIPE`, its `network`, and `network_of_N` for another number N of sequences.
        blocks: number of resolutions.
        channels: number of channels of the first layer.
        patch: side of the windows, in voxels.
        norm: `batch` or `instance`.
        activation: class of the activation in PyTorch.
        preactivation: True where norm and activation come before their convolution.
        trained: Dice of ET/TC/WT in the paper's table 2 for each set of sequences, by their names, joined by commas.
        inputs: sequences that are taken without `--sequences`.
    """

    name: str
    module: str
    blocks: int = 5
    channels: int = 4
    patch: int = 128
    norm: str = "batch"
    activation: str = "PReLU"
    preactivation: bool = False
    trained: Mapping[str, str]
    inputs: tuple[Sequence, ...] = SEQUENCES

    def network(self, sequences: int | None = None) -> nn.Module:
        """Return a network from (1, C, I, J, K), sides multiples of 2^(blocks - 1), to logits (1, 4, I, J, K).

        Args:
            sequences: number of channels C. The number of `inputs` unless given.
        """
        from unet import UNet

        network: nn.Module = UNet(
            in_channels=sequences or len(self.inputs),
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

    def spec(self, patch: int | None = None, inputs: tuple[Sequence, ...] | None = None) -> ModelSpec:
        """Return the steps around the network, in windows of the paper's patch unless stated.

        Args:
            patch: side of the windows, in voxels.
            inputs: sequences that the network sees.
        """
        side, inputs = patch or self.patch, inputs or self.inputs
        stage = Stage(
            name="tumour",
            before=(Orient(axes="LPS"), stand_in_landmarks(len(inputs)), ZScore(region=Region.NONZERO)),
            network=Network(
                graphs=("model",),
                channels_in=len(inputs),
                channels_out=len(BRATS_LABELS) + 1,
                activation=Activation.SOFTMAX,
                execution=SlidingWindow(shape=(side, side, side), overlap=0.0, blending=Blending.CONSTANT),
            ),
            after=(
                Argmax(values=(BACKGROUND, *(label.value for label in BRATS_LABELS))),
                LABELS_BACK,
            ),
        )
        return tumour_spec(self.name, stage, inputs=inputs)

    def graphs(self, sequences: int | None = None) -> tuple[GraphSource, ...]:
        """Return the network of so many sequences."""
        other = f"_of_{sequences}" if sequences and sequences != len(self.inputs) else ""
        build = only_random(partial(self.network, sequences), f"{self.module}:network{other}")
        return (GraphSource("model", build, None, (32, 32, 32)),)

    def card(self, inputs: tuple[Sequence, ...]) -> Card:
        """Return the card of the network of these sequences, with the figures of the paper for them."""
        count = f"{len(inputs)} sequences" if len(inputs) > 1 else f"{inputs[0].name} alone"
        return Card(
            summary=f"Brain tumour compartments of {count} by a small stock U-Net: {self._what()}.",
            citation=CITATION,
            published_figures=self._figures(inputs),
            limits=f"{LIMITS} The paper shares its weights; their landmarks have to come with them.",
        )

    def recipe(self) -> Recipe:
        """Return the recipe of the model."""
        offered = dict.fromkeys([tuple(names.split(",")) for names in self.trained] + [_names(self.inputs)])
        return Recipe(
            name=self.name,
            summary=f"brain tumour compartments, stock U-Net, {self._what()}; bring weights and landmarks",
            model=self._model,
            weights=NO_LANDMARKS,
            cohort=COHORT,
            parity_phantom=STAND_IN,
            sequences=tuple(offered) if len(offered) > 1 else (),
        )

    def _model(self, variant: Variant) -> ModelSource:
        chosen = variant.sequences or _names(self.inputs)
        inputs = tuple(each for name in chosen for each in SEQUENCES if each.name == name)
        return ModelSource(self.spec(inputs=inputs), self.graphs(len(inputs)), self.card(inputs), LICENCE)

    def _what(self) -> str:
        return f"{self.blocks} levels, {self.channels} channels, {self.norm} norm, {self.activation}"

    def _figures(self, inputs: tuple[Sequence, ...]) -> str:
        dice = self.trained.get(",".join(_names(inputs)))
        if dice is not None:
            return f"Dice ET/TC/WT {dice} on 312 training cases of BraTS 2021 (the paper's table 2, these sequences)"
        sets = "; ".join(self.trained)
        return f"none: the paper did not train this model with these sequences, but with {sets} (--sequences)"


def _names(inputs: tuple[Sequence, ...]) -> tuple[str, ...]:
    return tuple(each.name for each in inputs)
