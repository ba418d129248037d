"""COTRNet: tumour compartments of slices by a U-Net with transformer layers.

"Combining Global Information with Topological Prior for Brain Tumor Segmentation", BrainLes 2021.

- Network: `brain_edge_conversion.networks.cotrnet`, which says what the paper leaves open.
- Intensities are scaled to [0, 1] (section 3). The formula is not stated; chosen: from the least to the greatest value
  of each sequence.
- Every axial slice is resampled from 240 x 240 to 224 x 224, one after the other, and the masks are put together.
  Interpolation: not stated; chosen: linear, labels back by the nearest.
- Four channels ("equal to four": necrosis, oedema, enhancing, background; section 2.1 writes of one), each the "single
  connectivity domain" of its label, which holds the labels inside of it. Their order is not stated; chosen: that of
  BraTS, background first. So channel 1 is the core, 2 the whole tumour, 3 the enhancing part. They are painted above
  0.5, from the outside in.
- The largest component of the whole tumour is kept.
- Order of the sequences: not stated; chosen: T1w, T1w after contrast, T2w, FLAIR. Labels of BraTS 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.image.resample import Interpolation
from brain_edge.package.manifest import Card
from brain_edge.spec import ModelSpec, Network, SlicesAlong, Stage
from brain_edge.spec.steps import (
    FitPercentile,
    LargestComponent,
    Orient,
    PaintedRegion,
    PaintRegions,
    RescaleToUnit,
    ResizeInPlane,
)
from brain_edge_conversion.recipes._tumour import (
    COHORT,
    ENHANCING,
    LABELS_BACK,
    LIMITS,
    NECROSIS,
    OEDEMA,
    one_model,
    own_graph,
    own_network,
    tumour_spec,
    weightless,
)

if TYPE_CHECKING:
    from brain_edge_conversion.recipe import GraphSource

SHAPE: Final = (224, 224)
BATCH: Final = 4
"""Small, because attention over 56 x 56 pixels takes 39 MB for each head of each slice."""
WIDTHS: Final = (64, 128, 256, 512)
DECODER: Final = (256, 128, 64, 64, 32)

DOMAINS: Final = PaintRegions(
    regions=(
        PaintedRegion(channel=2, above=0.5, label=OEDEMA.value),
        PaintedRegion(channel=1, above=0.5, label=NECROSIS.value),
        PaintedRegion(channel=3, above=0.5, label=ENHANCING.value),
    )
)
CORRECTED: Final = "it had three heads without a background, and bilinear upsampling in place of up-convolutions"

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by a 2D U-Net on ResNet-18 with four transformer layers.",
    citation='"Combining Global Information with Topological Prior for Brain Tumor Segmentation", BrainLes 2021',
    published_figures="Dice ET/TC/WT 78.08/76.18/83.92 % on the test cases of BraTS 2021 (the paper)",
    limits=f"{LIMITS} The paper states neither where its transformer layers lie nor their size; both are chosen here.",
)


def spec(shape: tuple[int, int] = SHAPE) -> ModelSpec:
    """Return the steps around the network, on slices of that shape."""
    stage = Stage(
        name="tumour",
        before=(
            Orient(axes="SPL"),
            FitPercentile(name="least", percent=0.0),
            FitPercentile(name="greatest", percent=100.0),
            RescaleToUnit(lower="least", upper="greatest"),
            ResizeInPlane(axis=0, shape=shape, interpolation=Interpolation.LINEAR),
        ),
        network=Network(graphs=("cotrnet",), channels_in=4, channels_out=4, execution=SlicesAlong(axis=0, batch=BATCH)),
        after=(DOMAINS, LABELS_BACK, LargestComponent()),
    )
    return tumour_spec("cotrnet", stage)


def cotrnet_graphs(widths: tuple[int, ...] = WIDTHS, decoder: tuple[int, ...] = DECODER) -> tuple[GraphSource, ...]:
    """Return the network, of the chosen width unless stated."""
    build = own_network("cotrnet:COTRNet", widths=widths, decoder=decoder)
    return (own_graph("cotrnet", build, (2, 64, 64), corrected=CORRECTED),)


RECIPE: Final = weightless(
    name="cotrnet",
    summary="brain tumour compartments slice by slice, with attention; bring the weights",
    model=one_model(spec, cotrnet_graphs, CARD),
    cohort=COHORT,
)
