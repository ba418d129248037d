"""MAAB-UNet3D: tumour compartments by a shallow U-Net of atrous blocks, one to five models.

"Unet3D with Multiple Atrous Convolutions Attention Block for Brain Tumor Segmentation", BrainLes 2021.

- Figures of the network, the block and the gate: `brain_edge_conversion.networks.maab_unet3d`, which says what they
  leave open (kernels, how branches are combined, norms, the attention in the block).
- Pre-processing: mean and deviation of the voxels that are not 0, each sequence on its own.
- Inference: windows of 72^3 at a stride of 64 along each axis, overlaps averaged: 48 for 240 x 240 x 155. That
  the last window ends at the border is chosen.
- Results: the mean of five folds, `--members all`; one is the default here. No mirroring, no clean-up.
- Regions ET, WT, TC; that each has a sigmoid and is cut at 0.5 is implied by the loss, not stated.
- Order of the four sequences: not stated; chosen: T1w, T1w after contrast, T2w, FLAIR. Storage: as BraTS stores, LPS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.package.manifest import Card
from brain_edge.spec import ModelSpec, Network, Stage, StridedWindows
from brain_edge.spec.steps import Orient, Region, ZScore
from brain_edge_conversion.recipes._tumour import (
    COHORT,
    ENHANCING_WHOLE_CORE,
    LABELS_BACK,
    LIMITS,
    first_members,
    own_graph,
    own_network,
    tumour_spec,
    weightless,
)

if TYPE_CHECKING:
    from brain_edge_conversion.recipe import GraphSource

FOLDS: Final = 5
WIDTH: Final = 16
WINDOW: Final = 72
STRIDE: Final = 64

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by a U-Net of atrous blocks with 1.8 million parameters.",
    citation='"Unet3D with Multiple Atrous Convolutions Attention Block for Brain Tumor Segmentation", BrainLes 2021',
    published_figures="Dice ET/TC/WT 81.68/82.92/88.42 % on the test cases of BraTS 2021, five folds (the paper)",
    limits=f"{LIMITS} The paper's figures leave parts of the block open; those here are chosen.",
)


def spec(folds: int = 1, window: int = WINDOW, stride: int = STRIDE) -> ModelSpec:
    """Return the steps around so many folds, in cubic windows."""
    sides = (window, window, window)
    stage = Stage(
        name="tumour",
        before=(Orient(axes="LPS"), ZScore(region=Region.NONZERO)),
        network=Network(
            graphs=tuple(f"fold{n}" for n in range(folds)),
            channels_in=4,
            channels_out=3,
            execution=StridedWindows(shape=sides, stride=(stride, stride, stride), core=sides),
        ),
        after=(ENHANCING_WHOLE_CORE, LABELS_BACK),
    )
    return tumour_spec("maab-unet3d", stage)


def maab_graphs(folds: int = 1, width: int = WIDTH) -> tuple[GraphSource, ...]:
    """Return the networks, of the paper's width unless stated."""
    build = own_network("maab_unet3d:MaabUNet3D", width=width)
    return tuple(own_graph(f"fold{n}", build, (32, 32, 32), seed=n) for n in range(folds))


RECIPE: Final = weightless(
    name="maab-unet3d",
    summary="brain tumour compartments, U-Net of atrous blocks, 1 to 5 folds; bring the weights",
    model=first_members(spec, maab_graphs, CARD),
    cohort=COHORT,
    members=FOLDS,
)
