"""nnU-Net with region-based training and loss ensembles: three nested regions of a tumour, one to five models.

"nnUNet with Region-Based Training and Loss Ensembles for Brain Tumor Segmentation", BrainLes 2021.

- Method, on the network: the stock 3D full-resolution nnU-Net, three channels WT, TC, ET with a sigmoid; here the plain
  U-Net of nnU-Net's plans. "nnUNet 0.6" (table of the environment) is version 1, whose transposed convolutions and
  heads have no bias: 31,198,176 parameters, as the nnSegNet paper counts its nnU-Net. State dicts of its `.model` files
  load. Patches of 128^3 are stated (table 2). Channels and levels are in a figure only; chosen: what nnU-Net plans for
  such patches, 32 to 320 channels on six levels. Deep supervision is for training only and is not here.
- Pre- and post-processing are nnU-Net's defaults, which the paper does not spell out: SimpleITK's array order, the box
  of what is not 0, mean and deviation of the voxels that are not 0, 1 mm as it comes, windows of 128^3 at an overlap of
  0.5 with a Gaussian weight.
- Results, on the ensemble: of ten models (five folds with two losses) the better loss of each fold, five models
  averaged: `--members all`. One is the default here. Mirrorings are not stated; nnU-Net 1 averages over all eight
  unless it is told not to: `--flips`.
- Order of the four sequences: not stated; chosen: T1w, T1w after contrast, T2w, FLAIR.

A results folder of nnU-Net itself is converted as it is, with its own plans; this recipe is for the paper's network.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from brain_edge.package.manifest import Card
from brain_edge.spec import Activation, Blending, ModelSpec, Network, SlidingWindow, Stage
from brain_edge.spec.steps import CropToForeground, Orient, Region, ZScore
from brain_edge_conversion.recipe import GraphSource, ModelSource, Variant
from brain_edge_conversion.recipes._tumour import (
    ALL_MIRRORINGS,
    COHORT,
    LABELS_BACK,
    LICENCE,
    LIMITS,
    WHOLE_CORE_ENHANCING,
    loader,
    tumour_spec,
    weightless,
)
from brain_edge_conversion.weights.nnunet_v1 import renamed

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from brain_edge.image.geometry import Shape

MEMBERS: Final = 5
PATCH: Final = (128, 128, 128)
FEATURES: Final = (32, 64, 128, 256, 320, 320)
"""Channels of each level, finest first."""

CORRECTED: Final = "it was the network of nnU-Net 2, with biases in transpconvs and seg_layers"

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by a region-based nnU-Net of 31 million parameters.",
    citation='"nnUNet with Region-Based Training and Loss Ensembles for Brain Tumor Segmentation", BrainLes 2021',
    published_figures="Dice ET/TC/WT 0.8760/0.8843/0.9300 on the test cases of BraTS 2021, five models (the paper)",
    limits=f"{LIMITS} The paper does not state its channels; those here are nnU-Net's for this patch.",
)


def model(variant: Variant) -> ModelSource:
    """Return so many models, one unless stated, mirrored in all eight ways with `flips`."""
    members = variant.members or 1
    flips = ALL_MIRRORINGS if variant.flips else ((),)
    return ModelSource(spec(members, flips=flips), nnunet_graphs(members), CARD, LICENCE)


def spec(members: int = 1, patch: Shape = PATCH, flips: tuple[tuple[int, ...], ...] = ((),)) -> ModelSpec:
    """Return the steps around so many models, in windows of that shape."""
    stage = Stage(
        name="tumour",
        before=(Orient(axes="SPL"), CropToForeground(), ZScore(region=Region.NONZERO)),
        network=Network(
            graphs=tuple(f"fold{n}" for n in range(members)),
            channels_in=4,
            channels_out=3,
            flips=flips,
            activation=Activation.SIGMOID,
            execution=SlidingWindow(shape=patch, overlap=0.5, blending=Blending.GAUSSIAN_CUT),
        ),
        after=(WHOLE_CORE_ENHANCING, LABELS_BACK),
    )
    return tumour_spec("nnunet-loss-ensemble", stage)


def nnunet_graphs(members: int = 1, features: tuple[int, ...] = FEATURES) -> tuple[GraphSource, ...]:
    """Return the networks, of nnU-Net's channels unless stated.

    The example is small, with two voxels at the deepest level.
    """
    side = 2 ** len(features)
    return tuple(nnunet_graph(f"fold{n}", partial(nnunet, features), (side, side, side), n) for n in range(members))


def nnunet_graph(name: str, build: Callable[[], nn.Module], example_shape: Shape, seed: int = 0) -> GraphSource:
    """Return a network of nnU-Net 1, whose `.model` files load."""
    return GraphSource(name, loader(build, seed, CORRECTED, renamed), None, example_shape)


def nnunet(features: tuple[int, ...], channels_out: int = 3, *, is_version_1: bool = True) -> nn.Module:
    """Return the network, of so many channels on each level."""
    from brain_edge_conversion.networks.nnunet_unet import NnunetUNet, UNetPlan

    plan = UNetPlan.plain(features, (3, 3, 3), (2, 2, 2), is_version_1=is_version_1)
    return NnunetUNet(plan, channels_in=4, channels_out=channels_out)


RECIPE: Final = weightless(
    name="nnunet-loss-ensemble",
    summary="brain tumour compartments, region-based nnU-Net, 1 to 5 models; bring the weights",
    model=model,
    cohort=COHORT,
    members=MEMBERS,
    has_flips=True,
)
