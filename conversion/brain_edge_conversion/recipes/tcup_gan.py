"""TCuP-GAN: tumour compartments by a recurrent U-Net that reads the head slice by slice.

Mantha, Sankar, Fortson, "Automated 3D Tumor Segmentation using Temporal Cubic PatchGAN (TCuP-GAN)", BraTS 2023 (arXiv
2311.14148), and its published source (ramanakumars/TCuPGAN).

- The generator (the paper's LSTM U-Net): `brain_edge_conversion.networks.tcup_gan`, 2.3 million parameters. The
  discriminator is for training only and is not here.
- Pre-processing (its data): each channel divided by its 99 % quantile, each slice of 240 x 240 resized to 256 x 256.
  Over which voxels the quantile is taken is not stated; chosen: all. Interpolation: not stated; chosen: linear.
- The whole stack goes through at once, 155 slices from the neck up; the direction is not stated.
- Post-processing (its last paragraphs on inference): a background channel, 1 - the sum of the three; all divided by
  their sum; the largest wins. Then for WT, TC, ET the components that span at least 5 slices and have a mean area per
  slice above 125, 75, 20 pixels are kept (glioma; the siblings of this recipe have those of the other three cohorts).
  On which grid is not stated; chosen: the image's own. What the others become is not stated either; chosen: background
  for WT, oedema for TC, necrosis for ET, as the regions nest.
- Labels of BraTS 2023: 1 necrosis, 2 oedema, 3 enhancing. Order of the sequences: T1w, T2w, T1w after contrast, FLAIR,
  as the paper's data section lists them before they are concatenated.

In INT8 the convolutions of the loops stay in floating point; docs/decisions/0021 says what that leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from brain_edge.image.resample import Interpolation
from brain_edge.package.manifest import Card
from brain_edge.spec import Label, ModelSpec, Network, Stage, WholeStack
from brain_edge.spec.steps import (
    Argmax,
    ComponentExtent,
    FitPercentile,
    Normalise,
    Orient,
    PrependBackground,
    ResizeInPlane,
)
from brain_edge_conversion.recipe import GraphSource, ModelSource, Variant
from brain_edge_conversion.recipes._tumour import (
    FLAIR,
    LABELS_BACK,
    LICENCE,
    LIMITS,
    NECROSIS,
    OEDEMA,
    T1,
    T1C,
    T2,
    own_graph,
    own_network,
    tumour_spec,
    weightless,
)

COHORT: Final = "tcga-fg-6692-brats-2023"
PLANE: Final = (256, 256)
WIDTHS: Final = (16, 32, 48, 64, 128)
ENHANCING: Final = Label(value=3, name="enhancing")


@dataclass(frozen=True)
class MeanAreas:
    """Least mean areas of a component per slice, in pixels, for each region."""

    whole: float
    core: float
    enhancing: float


GLIOMA: Final = MeanAreas(125.0, 75.0, 20.0)

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by a U-Net of convolutional LSTMs, 2.3 million parameters.",
    citation="Mantha, Sankar, Fortson, BraTS 2023 (arXiv 2311.14148)",
    published_figures="",
    limits=f"{LIMITS} The thresholds of the post-processing count pixels of 1 mm.",
)


def for_cohort(name: str, areas: MeanAreas, dice: str, _variant: Variant) -> ModelSource:
    """Return the generator with the thresholds of a cohort of the challenge, and its Dice WT/TC/ET in the paper."""
    figures = f"lesion-wise Dice WT/TC/ET {dice} on the validation cases of BraTS 2023 (the paper)"
    card = msgspec.structs.replace(CARD, published_figures=figures)
    return ModelSource(spec(name, areas), tcup_gan_graphs(), card, LICENCE)


def spec(name: str = "tcup-gan", areas: MeanAreas = GLIOMA, plane: tuple[int, int] = PLANE) -> ModelSpec:
    """Return the steps around the generator, on slices of that size."""
    stage = Stage(
        name="tumour",
        before=(
            Orient(axes="SPL"),
            FitPercentile(name="p99", percent=99.0),
            Normalise(divide="p99"),
            ResizeInPlane(axis=0, shape=plane, interpolation=Interpolation.LINEAR),
        ),
        network=Network(graphs=("generator",), channels_in=4, channels_out=3, execution=WholeStack(axis=0)),
        after=(
            PrependBackground(),
            Argmax(),
            LABELS_BACK,
            ComponentExtent(of=(1, 2, 3), mean_area_above=areas.whole),
            ComponentExtent(of=(1, 3), mean_area_above=areas.core, replacement=OEDEMA.value),
            ComponentExtent(of=(3,), mean_area_above=areas.enhancing, replacement=NECROSIS.value),
        ),
    )
    return tumour_spec(name, stage, inputs=(T1, T2, T1C, FLAIR), labels=(NECROSIS, OEDEMA, ENHANCING))


def tcup_gan_graphs(widths: tuple[int, ...] = WIDTHS, plane: tuple[int, int] = PLANE) -> tuple[GraphSource, ...]:
    """Return the generator, of the paper's width unless stated."""
    side = 2 ** (len(widths) + 1)
    return (
        own_graph("generator", own_network("tcup_gan:TCuPGANGenerator", widths=widths, plane=plane), (3, side, side)),
    )


RECIPE: Final = weightless(
    name="tcup-gan",
    summary="brain tumour compartments of four sequences, recurrent over slices; bring the weights",
    model=partial(for_cohort, "tcup-gan", GLIOMA, "0.83/0.76/0.76"),
    cohort=COHORT,
)
