"""Vox2Vox: tumour compartments by the generator of a 3D conditional GAN, alone or as the paper's five models.

Cirillo, Abramian, Eklund, "Vox2Vox: 3D-GAN for Brain Tumour Segmentation", BrainLes 2020 (arXiv 2003.13653).

- Method, on the generator: `brain_edge_conversion.networks.vox2vox`; about 142 million parameters and 318 GFLOP at
  128^3. The discriminator and the dropout are for training only and are not here.
- Data and pre-processing: T1w, T2w, T1w after contrast, FLAIR, in this order; each channel normalised on its own with
  the background left at 0. The formula is not stated; chosen: mean and deviation of the voxels that are not 0.
- Inference: test volumes of 240 x 240 x 155 cropped to 160 x 192 x 128 and run whole. Where the crop lies is not
  stated; chosen: the middle. What is outside of it is background.
- Data, on the labels: as the channels are numbered: 1 oedema, 2 necrotic and non-enhancing core, 3 enhancing.
- Results, on the ensemble: the mean of the softmax of five cross-validation models: `--members all`. One is the default
  here.

Storage order is not stated; BraTS stores LPS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.package.manifest import Card
from brain_edge.spec import Label, ModelSpec, Network, Stage
from brain_edge.spec.steps import Argmax, CropOrPadTo, Orient, Region, ZScore
from brain_edge_conversion.recipes._tumour import (
    FLAIR,
    LABELS_BACK,
    LIMITS,
    NECROSIS_CODE,
    OEDEMA_CODE,
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
    from brain_edge_conversion.recipe import GraphSource

MEMBERS: Final = 5
CROP: Final = (160, 192, 128)
WIDTH: Final = 64
"""Channels of the finest level."""

COHORT: Final = "tcga-fg-6692-vox2vox"
"""The case of the other tumour recipes, with the labels below."""

LABELS: Final = (
    Label(value=1, name="oedema", code=OEDEMA_CODE),
    Label(value=2, name="necrosis", code=NECROSIS_CODE),
    Label(value=3, name="enhancing"),
)

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by the Vox2Vox generator of 142 million parameters.",
    citation="Cirillo, Abramian, Eklund, BrainLes 2020 (arXiv 2003.13653)",
    published_figures="Dice WT/TC/ET 90.66/82.54/78.71 % on 57 cases of BraTS 2018, five models (the paper)",
    limits=f"{LIMITS} Tumour outside of the middle 160 x 192 x 128 voxels is not seen.",
)


def spec(members: int = 1, crop: Shape = CROP) -> ModelSpec:
    """The steps around so many models, on a crop of that shape."""
    inputs = (T1, T2, T1C, FLAIR)
    return tumour_spec("vox2vox", vox2vox_stage(members, crop, Argmax()), inputs=inputs, labels=LABELS)


def vox2vox_stage(members: int, crop: Shape, decision: Argmax) -> Stage:
    """What Vox2Vox and its calibrated sibling have in common."""
    return Stage(
        name="tumour",
        before=(Orient(axes="LPS"), CropOrPadTo(shape=crop), ZScore(region=Region.NONZERO)),
        network=Network(graphs=tuple(f"model{n}" for n in range(members)), channels_in=4, channels_out=4),
        after=(decision, LABELS_BACK),
    )


def vox2vox_graphs(members: int, width: int = WIDTH) -> tuple[GraphSource, ...]:
    """The networks, of the paper's width unless stated."""
    build = own_network("vox2vox:Vox2VoxGenerator", width=width)
    return tuple(own_graph(f"model{n}", build, (32, 32, 32), seed=n) for n in range(members))


RECIPE: Final = weightless(
    name="vox2vox",
    summary="brain tumour compartments of four sequences, GAN generator, 1 to 5 models; bring the weights",
    model=first_members(spec, vox2vox_graphs, CARD),
    cohort=COHORT,
    members=MEMBERS,
)
