"""Vox2Vox: tumour compartments by the generator of a 3D conditional GAN, alone or as the paper's five models.

Cirillo, Abramian, Eklund, "Vox2Vox: 3D-GAN for Brain Tumour Segmentation", BrainLes 2020 (arXiv 2003.13653).

- Method, on the generator: `brain_edge_conversion.networks.vox2vox`; 150 million parameters, counted here. The
  discriminator and the dropout are for training only and are not here.
- Data and pre-processing: T1w, T2w, T1w after contrast, FLAIR, in this order; each channel normalised on its own with
  the background left at 0. The formula is not stated; chosen: mean and deviation of the voxels that are not 0.
- Inference: test volumes of 240 x 240 x 155, normalised, then cropped to 160 x 192 x 128 and run whole. Where the crop
  lies is not stated; here as in the published program (mdciri/Vox2Vox, `predict.py`): voxels 40 to 200, 34 to 226, 8 to
  136, on other grids as far from the middle. What is outside of it is background.
- Labels: pre-processing lists oedema, necrotic and non-enhancing core, enhancing "labeled with 0, 1, 2, 3 respectively"
  after the background. The published program changes 4 to 3 and nothing else in the labels of BraTS, where 1 is
  necrosis and 2 oedema. Chosen, for all that are called Vox2Vox: the program, since trained weights follow it.
- Results, on the ensemble: the mean of the softmax of five cross-validation models: `--members all`. One is the default
  here.

Storage order is not stated; BraTS stores LPS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.package.manifest import Card
from brain_edge.spec import Label, ModelSpec, Network, Stage
from brain_edge.spec.steps import Argmax, CropOrPadTo, Orient, Placement, Region, ZScore
from brain_edge_conversion.recipes._tumour import (
    FLAIR,
    LABELS_BACK,
    LIMITS,
    NECROSIS,
    OEDEMA,
    T1,
    T1C,
    T2,
    first_members,
    own_graph,
    own_network,
    tumour_spec,
    weightless,
)

if TYPE_CHECKING:
    from brain_edge.image.geometry import Shape
    from brain_edge.spec.steps import BeforeStep
    from brain_edge_conversion.recipe import GraphSource

MEMBERS: Final = 5
CROP: Final = (160, 192, 128)
WIDTH: Final = 64
"""Channels of the finest level."""

COHORT: Final = "tcga-fg-6692-brats-2023"
"""The case of the other tumour recipes, with the labels below."""

LABELS: Final = (NECROSIS, OEDEMA, Label(value=3, name="enhancing"))
CHANNELS_MAY_DIFFER: Final = (
    "The paper lists oedema before necrosis, its published program has necrosis first, and so has this package: "
    "weights that were trained in the paper's order exchange the two without a word."
)
CORRECTED: Final = "the decoder took the last block of the bottleneck alone (up3.0.weight of 512 input channels)"

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by the Vox2Vox generator of 150 million parameters.",
    citation="Cirillo, Abramian, Eklund, BrainLes 2020 (arXiv 2003.13653)",
    published_figures="Dice WT/TC/ET 90.66/82.54/78.71 % on 57 cases of BraTS 2018, five models (the paper)",
    limits=f"{LIMITS} Tumour outside of about the middle 160 x 192 x 128 voxels is not seen. {CHANNELS_MAY_DIFFER}",
)


def spec(members: int = 1, crop: Shape = CROP) -> ModelSpec:
    """Return the steps around so many models, on a crop of that shape."""
    inputs = (T1, T2, T1C, FLAIR)
    return tumour_spec("vox2vox", vox2vox_stage(members, crop, Argmax()), inputs=inputs, labels=LABELS)


def vox2vox_stage(members: int, crop: Shape, decision: Argmax) -> Stage:
    """Return the stage that Vox2Vox and its calibrated sibling share."""
    rows, columns, slices = crop
    published = (  # it starts at 34 and 8, where the middle would start at 24 and 13
        CropOrPadTo(shape=(rows, columns + 20, slices + 11)),
        CropOrPadTo(shape=(rows, columns, slices + 11), placement=Placement.END),
        CropOrPadTo(shape=crop, placement=Placement.START),
    )
    return Stage(
        name="tumour",
        before=(Orient(axes="LPS"), ZScore(region=Region.NONZERO), *published),
        network=Network(graphs=tuple(f"model{n}" for n in range(members)), channels_in=4, channels_out=4),
        after=(decision, LABELS_BACK),
    )


def centred(crop: Shape) -> tuple[BeforeStep, ...]:
    """Return a crop about the middle, then the norm, as `vox2vox_modified` and `fit_vox2vox` have them."""
    return (Orient(axes="LPS"), CropOrPadTo(shape=crop), ZScore(region=Region.NONZERO))


def vox2vox_graphs(members: int, width: int = WIDTH) -> tuple[GraphSource, ...]:
    """Return the networks, of the paper's width unless stated."""
    build = own_network("vox2vox:Vox2VoxGenerator", width=width)
    return tuple(own_graph(f"model{n}", build, (32, 32, 32), seed=n, corrected=CORRECTED) for n in range(members))


RECIPE: Final = weightless(
    name="vox2vox",
    summary="brain tumour compartments of four sequences, GAN generator, 1 to 5 models; bring the weights",
    model=first_members(spec, vox2vox_graphs, CARD),
    cohort=COHORT,
    members=MEMBERS,
)
