"""Modified Vox2Vox: tumour compartments of four sequences by the generator with a convolution in each skip.

"Multimodal Brain Tumor Segmentation Using Modified UNet Architecture", BrainLes 2021.

- Method, on the network: `brain_edge_conversion.networks.modified_vox2vox`, which says what the paper leaves open (its
  channels).
- Pre-processing: the middle 160 x 192 x 128 of 240 x 240 x 155 voxels, run whole; each sequence normalised with the
  background left at 0. The formula is not stated; chosen: mean and deviation of the voxels that are not 0.
- Method, on input and output: FLAIR, T1w, T1w after contrast, T2w; channels necrosis, oedema, enhancing, other.
- Post-processing: zeros around the crop, nothing else; one model, no mirroring.
- The fixed crop can cut tissue, which the paper does not look at; what is outside of it is background.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.package.manifest import Card
from brain_edge.spec.steps import Argmax
from brain_edge_conversion.recipes._tumour import (
    COHORT,
    FLAIR,
    LIMITS,
    T1,
    T1C,
    T2,
    one_model,
    own_graph,
    own_network,
    tumour_spec,
    weightless,
)
from brain_edge_conversion.recipes.vox2vox import CROP, WIDTH, centred, vox2vox_stage

if TYPE_CHECKING:
    from brain_edge.image.geometry import Shape
    from brain_edge.spec import ModelSpec
    from brain_edge_conversion.recipe import GraphSource

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by a U-Net after the generator of Vox2Vox.",
    citation='"Multimodal Brain Tumor Segmentation Using Modified UNet Architecture", BrainLes 2021',
    published_figures="Dice ET/WT/TC .73/.87/.76 on the validation cases of BraTS 2021 (the paper)",
    limits=f"{LIMITS} Tumour outside of the middle 160 x 192 x 128 voxels is not seen. The channels are chosen here.",
)


def spec(crop: Shape = CROP) -> ModelSpec:
    """Return the steps around the network, on a crop of that shape."""
    stage = msgspec.structs.replace(vox2vox_stage(1, crop, Argmax(values=(1, 2, 4, 0))), before=centred(crop))
    return tumour_spec("vox2vox-modified", stage, inputs=(FLAIR, T1, T1C, T2))


def modified_graphs(width: int = WIDTH) -> tuple[GraphSource, ...]:
    """Return the network, as wide as Vox2Vox unless stated."""
    return (own_graph("model0", own_network("modified_vox2vox:ModifiedVox2Vox", width=width), (32, 32, 32)),)


RECIPE: Final = weightless(
    name="vox2vox-modified",
    summary="brain tumour compartments, U-Net after the generator of Vox2Vox; bring the weights",
    model=one_model(spec, modified_graphs, CARD),
    cohort=COHORT,
)
