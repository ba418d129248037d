"""PGAN: label maps of slices from noise, a generator of the study of synthetic slices.

Foroozandeh, Eklund, "Synthesizing brain tumor images and annotations by combining progressive growing GAN and SPADE"
(arXiv 2009.05946): the noise-to-image GAN, which makes label maps of 256 x 256.

- Network: `brain_edge_conversion.networks.pgan`, the default of the official implementation. Its values lie in [-1, 1],
  and masks have the classes 0 to 6 (section 3.2, "dynamic range"): -1 becomes 0, 1 becomes 6, and each value the
  nearest class. Values beyond the range become the class at its end, as the official implementation writes images.
- The input image gives the grid alone: as many slices as it has, each from noise of its own. They are not slices of one
  head. `brain-edge run --seed` draws other noise.
- Section 3.4 leaves out maps whose z-score against the real maps has a norm above 500. That needs the real maps, and is
  no part of the package: `brain-edge cohort synthesize --like` does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.image.contrast import Contrast
from brain_edge.package.manifest import Card
from brain_edge.spec import ModelSpec, Network, NoiseSlices, Sequence, Stage, Task
from brain_edge.spec.steps import CropOrPadInPlane, Orient, PaintedRegion, PaintRegions
from brain_edge_conversion.recipes._synthetic_slices import CITATION, GENERATOR_LIMITS, LABELS
from brain_edge_conversion.recipes._tumour import LABELS_BACK, one_model, own_graph, own_network, weightless

if TYPE_CHECKING:
    from brain_edge_conversion.recipe import GraphSource

WIDTHS: Final = (512, 512, 512, 512, 256, 128, 64)
BATCH: Final = 4
SEED: Final = 0
CLASSES: Final = max(LABELS)
STEP: Final = 2 / (CLASSES - 1)
"""Between two classes in the range of the network, -1 to 1."""
NEAREST_CLASS: Final = PaintRegions(
    regions=tuple(
        PaintedRegion(channel=0, above=round(STEP * (number - 0.5) - 1, 6), label=number)
        for number in range(1, CLASSES)
    )
)
"""Class n where a value is nearer to it than to the class before."""

CARD: Final = Card(
    summary="Label maps of brain slices from noise by a progressive growing GAN, 23 million parameters.",
    citation=CITATION,
    published_figures="none of the generator alone",
    limits=GENERATOR_LIMITS,
)


def spec(widths: tuple[int, ...] = WIDTHS) -> ModelSpec:
    """Return the steps around the generator, whose widths fix the sides of a slice."""
    side = 2 ** (len(widths) + 1)
    stage = Stage(
        name="slices",
        before=(Orient(axes="SPL"), CropOrPadInPlane(axis=0, shape=(side, side))),
        network=Network(
            graphs=("pgan",),
            channels_in=widths[0],
            channels_out=1,
            execution=NoiseSlices(axis=0, batch=BATCH, seed=SEED),
        ),
        after=(NEAREST_CLASS, LABELS_BACK),
    )
    grid = Sequence(name="grid", contrasts=(Contrast.ANY,), description="only its grid is used")
    return ModelSpec(name="pgan", task=Task.SYNTHESIS, inputs=(grid,), stages=(stage,), labels=())


def pgan_graphs(widths: tuple[int, ...] = WIDTHS) -> tuple[GraphSource, ...]:
    """Return the generator, of the paper's width unless stated."""
    return (own_graph("pgan", own_network("pgan:PGANGenerator", widths=widths), (2, 8, 8)),)


RECIPE: Final = weightless(
    name="pgan",
    summary="a generator: label maps of slices from noise; bring the weights",
    model=one_model(spec, pgan_graphs, CARD),
)
