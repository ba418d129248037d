"""PGAN: label maps of slices from noise, a generator of the study of synthetic slices.

Foroozandeh, Eklund, "Synthesizing brain tumor images and annotations by combining progressive growing GAN and SPADE"
(arXiv 2009.05946): the noise-to-image GAN, which makes label maps of 256 x 256.

- Network: `brain_edge_conversion.networks.pgan`. How classes are coded in its output is not stated; chosen: one
  channel, the number of the class, to be rounded.
- The input image gives the grid alone: as many slices as it has, each from noise of its own. They are not slices of one
  head.
- The paper leaves out maps whose z-score against the real maps has a norm above 500: that needs the real maps, and is
  not part of the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.image.contrast import Contrast
from brain_edge.package.manifest import Card
from brain_edge.spec import ModelSpec, Network, NoiseSlices, Sequence, Stage, Task
from brain_edge.spec.steps import CropOrPadInPlane, Orient
from brain_edge_conversion.recipes._synthetic_slices import CITATION, GENERATOR_LIMITS
from brain_edge_conversion.recipes._tumour import LABELS_BACK, one_model, own_graph, own_network, weightless

if TYPE_CHECKING:
    from brain_edge_conversion.recipe import GraphSource

WIDTHS: Final = (512, 512, 512, 512, 256, 128, 64)
BATCH: Final = 4
SEED: Final = 0

CARD: Final = Card(
    summary="Label maps of brain slices from noise by a progressive growing GAN, 23 million parameters.",
    citation=CITATION,
    published_figures="none of the generator alone",
    limits=GENERATOR_LIMITS,
)


def spec(widths: tuple[int, ...] = WIDTHS) -> ModelSpec:
    """The steps around it; its widths say the sides of a slice."""
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
        after=(LABELS_BACK,),
    )
    grid = Sequence(name="grid", contrasts=(Contrast.ANY,), description="only its grid is used")
    return ModelSpec(name="pgan", task=Task.SYNTHESIS, inputs=(grid,), stages=(stage,), labels=())


def pgan_graphs(widths: tuple[int, ...] = WIDTHS) -> tuple[GraphSource, ...]:
    """The generator, of the paper's width unless stated."""
    return (own_graph("pgan", own_network("pgan:PGANGenerator", widths=widths), (2, 8, 8)),)


RECIPE: Final = weightless(
    name="pgan",
    summary="a generator: label maps of slices from noise; bring the weights",
    model=one_model(spec, pgan_graphs, CARD),
)
