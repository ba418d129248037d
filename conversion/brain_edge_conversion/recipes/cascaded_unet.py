"""Cascaded 3D U-Net: whole tumour, then core, then enhancing tumour; each network sees what the ones before found.

"Cascaded Training Pipeline for 3D Brain Tumor Segmentation", BrainLes 2021.

- Method, on the networks: `brain_edge_conversion.networks.cascaded_unet`, which says what the paper leaves open (widths
  and levels are in a figure only).
- Method, on the cascade: four sequences, then also the whole tumour, then also the core: 4, 5 and 6 channels. What is
  fed back is called a segmentation, and the output a sigmoid "with a threshold of 0.5", so thresholded maps are nearer
  to the text; chosen all the same: probabilities, as no sentence says what the next network was trained on.
- Pre-processing: no patches; the middle 155 x 160 x 160 voxels, all 155 slices, slices first; normalisation is not
  stated, and none is done: the first layer's output is normalised in groups.
- Post-processing, with its table of conflicts: sigmoid above 0.5, then the table (an enhancing voxel in nothing is
  background; core alone is necrosis), zeros around it, axes back in order. No mirroring and no ensemble.
- Order of the four sequences: not stated; chosen: T1w, T1w after contrast, T2w, FLAIR.

Random weights are drawn with a seed of its own for each network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.package.manifest import Card
from brain_edge.spec import ModelSpec, Network, Stage
from brain_edge.spec.steps import AppendStage, BeforeStep, CropOrPadTo, JoinStages, LookUpRegions, Orient
from brain_edge_conversion.recipes._tumour import (
    COHORT,
    LABELS_BACK,
    LIMITS,
    one_model,
    own_graph,
    own_network,
    tumour_spec,
    weightless,
)

if TYPE_CHECKING:
    from brain_edge.image.geometry import Shape
    from brain_edge.spec.steps import AfterStep
    from brain_edge_conversion.recipe import GraphSource

CROP: Final = (155, 160, 160)
WIDTH: Final = 16
REGIONS: Final = ("wt", "tc", "et")
CONFLICTS: Final = LookUpRegions(above=(0.5, 0.5, 0.5), labels=(0, 2, 1, 1, 0, 4, 4, 4))
"""Labels by bits, of which WT is the lowest: nothing, WT, TC, WT+TC, ET, WT+ET, TC+ET, all."""

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by three 3D U-Nets in a chain of 1.5 million parameters each.",
    citation='"Cascaded Training Pipeline for 3D Brain Tumor Segmentation", BrainLes 2021',
    published_figures="Dice WT/TC/ET 88.84/81.97/75.02 % on the validation cases of BraTS 2021 (the paper)",
    limits=f"{LIMITS} The paper does not state the widths of its networks; those here are chosen.",
)


def spec(crop: Shape = CROP) -> ModelSpec:
    """Return the chain on a crop (slices, rows, columns)."""
    cropped = (Orient(axes="SPL"), CropOrPadTo(shape=crop))
    decide = (JoinStages(stages=("wt", "tc")), CONFLICTS, LABELS_BACK)
    return tumour_spec(
        "cascaded-unet",
        _stage("wt", 4, cropped),
        _stage("tc", 5, (*cropped, AppendStage(stage="wt"))),
        _stage("et", 6, (*cropped, AppendStage(stage="wt"), AppendStage(stage="tc")), decide),
    )


def cascaded_graphs(width: int = WIDTH) -> tuple[GraphSource, ...]:
    """Return the networks, of the width chosen for the recipe unless stated."""
    return tuple(
        own_graph(region, own_network("cascaded_unet:CascadedUNet", 4 + number, width), (19, 24, 24), seed=number)
        for number, region in enumerate(REGIONS)
    )


def _stage(region: str, channels_in: int, before: tuple[BeforeStep, ...], after: tuple[AfterStep, ...] = ()) -> Stage:
    return Stage(
        name=region,
        before=before,
        network=Network(graphs=(region,), channels_in=channels_in, channels_out=1),
        after=after,
    )


RECIPE: Final = weightless(
    name="cascaded-unet",
    summary="brain tumour compartments, three 3D U-Nets in a chain; bring the weights",
    model=one_model(spec, cascaded_graphs, CARD),
    cohort=COHORT,
)
