"""nnU-Net with region-based training and loss ensembles: three nested regions of a tumour, one to five models.

"nnUNet with Region-Based Training and Loss Ensembles for Brain Tumor Segmentation", BrainLes 2021.

- Method, on the network: the stock 3D full-resolution nnU-Net, three channels WT, TC, ET with a sigmoid; here the plain
  U-Net of nnU-Net's plans. Channels and levels are in a figure only; chosen: what nnU-Net plans for patches of 128^3,
  32 to 320 channels on six levels. Deep supervision is for training only and is not here.
- Pre- and post-processing are nnU-Net's defaults, which the paper does not spell out: SimpleITK's array order, the box
  of what is not 0, mean and deviation of the voxels that are not 0, 1 mm as it comes, windows of 128^3 at an overlap of
  0.5 with a Gaussian weight.
- Results, on the ensemble: of ten models (five folds with two losses) the better loss of each fold, five models
  averaged: `--members all`; one is the default here. Mirrorings are not stated; there are none.
- Order of the four sequences: not stated; chosen: T1w, T1w after contrast, T2w, FLAIR.

A results folder of nnU-Net itself is converted as it is, with its own plans; this recipe is for the paper's network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.package.manifest import Card
from brain_edge.spec import Activation, Blending, ModelSpec, Network, SlidingWindow, Stage
from brain_edge.spec.steps import CropToForeground, Orient, Region, ZScore
from brain_edge_conversion.recipes._tumour import (
    COHORT,
    LABELS_BACK,
    LIMITS,
    WHOLE_CORE_ENHANCING,
    first_members,
    own_graph,
    tumour_spec,
    weightless,
)

if TYPE_CHECKING:
    from torch import nn

    from brain_edge.image.geometry import Shape
    from brain_edge_conversion.recipe import GraphSource

MEMBERS: Final = 5
PATCH: Final = (128, 128, 128)
FEATURES: Final = (32, 64, 128, 256, 320, 320)
"""Channels of each level, finest first."""

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by a region-based nnU-Net of 31 million parameters.",
    citation='"nnUNet with Region-Based Training and Loss Ensembles for Brain Tumor Segmentation", BrainLes 2021',
    published_figures="Dice ET/TC/WT 0.8760/0.8843/0.9300 on the test cases of BraTS 2021, five models (the paper)",
    limits=f"{LIMITS} The paper does not state its channels; those here are nnU-Net's for this patch.",
)


def spec(members: int = 1, patch: Shape = PATCH) -> ModelSpec:
    """The steps around so many models, in windows of that shape."""
    stage = Stage(
        name="tumour",
        before=(Orient(axes="SPL"), CropToForeground(), ZScore(region=Region.NONZERO)),
        network=Network(
            graphs=tuple(f"fold{n}" for n in range(members)),
            channels_in=4,
            channels_out=3,
            activation=Activation.SIGMOID,
            execution=SlidingWindow(shape=patch, overlap=0.5, blending=Blending.GAUSSIAN_CUT),
        ),
        after=(WHOLE_CORE_ENHANCING, LABELS_BACK),
    )
    return tumour_spec("nnunet-loss-ensemble", stage)


def nnunet_graphs(members: int = 1, features: tuple[int, ...] = FEATURES) -> tuple[GraphSource, ...]:
    """The networks, of nnU-Net's channels unless stated; the example is small, with two voxels at the deepest level."""
    side = 2 ** len(features)
    return tuple(own_graph(f"fold{n}", lambda: nnunet(features), (side, side, side), seed=n) for n in range(members))


def nnunet(features: tuple[int, ...], channels_out: int = 3) -> nn.Module:
    """The network, of so many channels on each level."""
    from brain_edge_conversion.networks.nnunet_unet import NnunetUNet, UNetPlan

    return NnunetUNet(UNetPlan.plain(features, (3, 3, 3), (2, 2, 2)), channels_in=4, channels_out=channels_out)


RECIPE: Final = weightless(
    name="nnunet-loss-ensemble",
    summary="brain tumour compartments, region-based nnU-Net, 1 to 5 models; bring the weights",
    model=first_members(spec, nnunet_graphs, CARD),
    cohort=COHORT,
    members=MEMBERS,
)
