"""SPiN: stroke lesions of a T1w head, five slices in and one out, decided at twice the resolution by a learnt vote.

Wong et al., "Small Lesion Segmentation in Brain MRIs with Subpixel Embedding", BrainLes 2021, and the published source
(alexklwong/subpixel-embedding-segmentation at cc82c50).

- The network: `brain_edge_conversion.networks.spin`.
- Input: T1w heads of ATLAS, 197 x 233 pixels in 189 slices of 1 mm, as they are; other sides run, too.
- Normalisation: not in the paper; the source subtracts 30.20063 and divides by 35.221165, mean and deviation of ATLAS.
- Beyond the first and the last slice lies the mean (paper, "mean padding"), in the source that of the data set, which
  is 0 once it is normalised.
- Probability above 0.5 (paper). No clean-up is stated.
- Storage order: not stated; chosen: axial slices from the neck up, rows along the left-right axis (197), as the array
  of a NIfTI in RAS has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.package.manifest import Card
from brain_edge.spec import (
    Edge,
    Label,
    ModelSpec,
    Network,
    Plausible,
    PlausibleInput,
    PlausibleLabel,
    SlicesAlong,
    Stage,
    Task,
)
from brain_edge.spec.steps import Linear, Orient, Threshold
from brain_edge_conversion.recipes._tumour import LABELS_BACK, T1, one_model, own_graph, own_network, weightless

if TYPE_CHECKING:
    from brain_edge_conversion.recipe import GraphSource

MEAN: Final = 30.20063
DEVIATION: Final = 35.221165
NEIGHBOURS: Final = 2
BATCH: Final = 8
WIDTHS: Final = (32, 64, 128, 196, 196)
EMBEDDING: Final = 16

CARD: Final = Card(
    summary="Stroke lesions of a T1w head by a 2.5D U-Net with subpixel embedding, 5.2 million parameters.",
    citation='Wong et al., "Small Lesion Segmentation in Brain MRIs with Subpixel Embedding", BrainLes 2021',
    published_figures="Dice 0.703, of lesions below 100 pixels 0.424, on 27 patients of ATLAS (the paper)",
    limits="No trained weights are public in a registry. With random weights only speed, memory and parity can be "
    "measured; there is no accuracy. T1w heads in the space of ATLAS, 1 mm, intensities as there.",
)


def spec() -> ModelSpec:
    """Return the steps around the network."""
    stage = Stage(
        name="lesion",
        before=(Orient(axes="SRA"), Linear(multiply=1 / DEVIATION, add=-MEAN / DEVIATION)),
        network=Network(
            graphs=("spin",),
            channels_in=2 * NEIGHBOURS + 1,
            channels_out=1,
            execution=SlicesAlong(axis=0, batch=BATCH, neighbours=NEIGHBOURS, edge=Edge.ZERO),
        ),
        after=(Threshold(channel=0, above=0.5), LABELS_BACK),
    )
    return ModelSpec(
        name="spin",
        task=Task.LESION,
        inputs=(T1,),
        stages=(stage,),
        labels=(Label(value=1, name="lesion"),),
        plausible=Plausible(
            inputs=PlausibleInput(spacing_mm=(0.8, 1.25), extent_mm=(100.0, 300.0)),
            labels=(PlausibleLabel(label=1, volume_ml=(0.0, 400.0), max_border_share=0.05),),
        ),
    )


def spin_graphs(widths: tuple[int, ...] = WIDTHS, embedding: int = EMBEDDING) -> tuple[GraphSource, ...]:
    """Return the network, of the published width unless stated."""
    return (own_graph("spin", own_network("spin:SPiN", 2 * NEIGHBOURS + 1, widths, embedding), (2, 45, 52)),)


RECIPE: Final = weightless(
    name="spin",
    summary="stroke lesions of T1w heads, five slices at a time; bring the weights",
    model=one_model(spec, spin_graphs, CARD),
)
