"""CBAM attention U-Net: tumour compartments by one network whose skips are gated, trained with positive mining.

"Brain Tumor Segmentation Using Attention Activated U-Net with Positive Mining", BrainLes 2021.

- Method, on the network and its attention: `brain_edge_conversion.networks.cbam_unet`, which says what the paper leaves
  open (norms, upsampling, the kernel of the voxel gate, the width of the lowest stage).
- Pre-processing: crops of 128^3; each sequence limited to the 1 % and 99 % quantiles of its voxels that are
  not 0. Whether it is scaled afterwards is not stated; chosen: to 0..1, so that sequences are comparable.
- Where the crop lies at inference is not stated; chosen: windows of 128^3 over the box of what is not 0, at an overlap
  of 0.5 with equal weights.
- Results: one network, no ensemble; test-time augmentation in the final submission, without its transforms:
  `--flips` is the mean of all eight mirrorings, the plain run is the default here.
- Regions ET, WT, TC; that each has a sigmoid and is cut at 0.5 is implied, not stated. Nothing is cleaned up.
- Order of the four sequences: not stated; chosen: T1w, T1w after contrast, T2w, FLAIR. Storage: as BraTS stores, LPS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.package.manifest import Card
from brain_edge.spec import Blending, ModelSpec, Network, SlidingWindow, Stage
from brain_edge.spec.steps import CropToForeground, FitPercentile, Orient, Region, RescaleToUnit
from brain_edge_conversion.recipe import GraphSource, ModelSource, Variant
from brain_edge_conversion.recipes._tumour import (
    ALL_MIRRORINGS,
    COHORT,
    ENHANCING_WHOLE_CORE,
    LABELS_BACK,
    LICENCE,
    LIMITS,
    own_graph,
    own_network,
    tumour_spec,
    weightless,
)

if TYPE_CHECKING:
    from brain_edge.image.geometry import Shape

PATCH: Final = (128, 128, 128)
WIDTH: Final = 48

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by a U-Net with gated skips, 21 million parameters.",
    citation='"Brain Tumor Segmentation Using Attention Activated U-Net with Positive Mining", BrainLes 2021',
    published_figures="Dice ET/TC/WT 0.858/0.869/0.913 on the test cases of BraTS 2021 (the paper)",
    limits=f"{LIMITS} The paper does not state its norms; those here are chosen.",
)


def model(variant: Variant) -> ModelSource:
    """Return the network; mirrored in all eight ways with `flips`."""
    return ModelSource(spec(ALL_MIRRORINGS if variant.flips else ((),)), cbam_graphs(), CARD, LICENCE)


def spec(flips: tuple[tuple[int, ...], ...] = ((),), patch: Shape = PATCH) -> ModelSpec:
    """Return the steps around the network, in windows of that shape."""
    stage = Stage(
        name="tumour",
        before=(
            Orient(axes="LPS"),
            CropToForeground(),
            FitPercentile(name="low", percent=1.0, region=Region.NONZERO),
            FitPercentile(name="high", percent=99.0, region=Region.NONZERO),
            RescaleToUnit(lower="low", upper="high"),
        ),
        network=Network(
            graphs=("model",),
            channels_in=4,
            channels_out=3,
            execution=SlidingWindow(shape=patch, overlap=0.5, blending=Blending.CONSTANT),
            flips=flips,
        ),
        after=(ENHANCING_WHOLE_CORE, LABELS_BACK),
    )
    return tumour_spec("cbam-attention-unet", stage)


def cbam_graphs(width: int = WIDTH) -> tuple[GraphSource, ...]:
    """Return the network, of the paper's width unless stated."""
    return (own_graph("model", own_network("cbam_unet:CbamUNet", width=width), (32, 32, 32)),)


RECIPE: Final = weightless(
    name="cbam-attention-unet",
    summary="brain tumour compartments, U-Net with attention on its skips; bring the weights",
    model=model,
    cohort=COHORT,
    has_flips=True,
)
