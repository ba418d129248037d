"""MSFR-Net: tumour compartments of slices by a U-Net of multi-scale blocks with attention.

"Automatic Brain Tumor Segmentation Using Multi-scale Features and Attention Mechanism", BrainLes 2021.

- Network: `brain_edge_conversion.networks.msfr_net`, which says what the paper leaves open.
- Whole axial slices of 240 x 240 are seen. Nothing is resized. Other sides are padded with zeros or cut to that.
- "Normalized into [0, 1] by Z-score" (section 3.3) contradicts itself; chosen: mean and deviation of the voxels that
  are not 0.
- The masks of the slices are put together. The paper applies morphological operations (section 3.4) and names none, so
  none is here.
- Order of the sequences: T1w, T1w after contrast, T2w, FLAIR (method, at the input of the network). Labels of BraTS
  2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.package.manifest import Card
from brain_edge.spec import ModelSpec, Network, SlicesAlong, Stage
from brain_edge.spec.steps import Argmax, CropOrPadInPlane, Orient, Region, ZScore
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
    from brain_edge_conversion.recipe import GraphSource

SHAPE: Final = (240, 240)
BATCH: Final = 8
WIDTH: Final = 32

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by a 2D U-Net of multi-scale blocks with attention.",
    citation='"Automatic Brain Tumor Segmentation Using Multi-scale Features and Attention Mechanism", BrainLes 2021',
    published_figures="Dice WT/TC/ET 89.15/83.02/82.08 % on the test cases of BraTS 2021 (the paper)",
    limits=f"{LIMITS} The paper states neither channels nor its morphological clean-up: the former are chosen, the "
    "latter is left out.",
)


def spec(shape: tuple[int, int] = SHAPE) -> ModelSpec:
    """Return the steps around the network, on slices of that shape."""
    stage = Stage(
        name="tumour",
        before=(Orient(axes="SPL"), ZScore(region=Region.NONZERO), CropOrPadInPlane(axis=0, shape=shape)),
        network=Network(graphs=("msfr",), channels_in=4, channels_out=4, execution=SlicesAlong(axis=0, batch=BATCH)),
        after=(Argmax(values=(0, 1, 2, 4)), LABELS_BACK),
    )
    return tumour_spec("msfr-net", stage)


def msfr_graphs(width: int = WIDTH) -> tuple[GraphSource, ...]:
    """Return the network, of the chosen width unless stated."""
    return (own_graph("msfr", own_network("msfr_net:MSFRNet", width=width), (2, 32, 32)),)


RECIPE: Final = weightless(
    name="msfr-net",
    summary="brain tumour compartments slice by slice, multi-scale; bring the weights",
    model=one_model(spec, msfr_graphs, CARD),
    cohort=COHORT,
)
