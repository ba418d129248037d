"""SPADE: an MR image of a label map, slice by slice, a generator of the study of synthetic slices.

Foroozandeh, Eklund, "Synthesizing brain tumor images and annotations by combining progressive growing GAN and SPADE"
(arXiv 2009.05946): the image-to-image GAN.

- Network: `brain_edge_conversion.networks.spade`.
- Input: a label map of seven classes, 0 background, 1 necrotic and non-enhancing core, 2 oedema, 3 enhancing, 4 white
  matter, 5 grey matter, 6 cerebrospinal fluid. Axial slices of 240 x 240 are padded with background to 256 x 256.
- Output: one channel of -1 to 1, as tanh gives it: T1w after contrast, the only images of the study (section 2). The
  scale of the intensities is not stated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.package.manifest import Card
from brain_edge.spec import ModelSpec, Network, Sequence, SlicesAlong, Stage, Task
from brain_edge.spec.steps import CropOrPadInPlane, OneHot, Orient
from brain_edge_conversion.recipes._synthetic_slices import CITATION, GENERATOR_LIMITS, PLANE
from brain_edge_conversion.recipes._tumour import LABELS_BACK, one_model, own_graph, own_network, weightless

if TYPE_CHECKING:
    from brain_edge_conversion.recipe import GraphSource

CLASSES: Final = (0, 1, 2, 3, 4, 5, 6)
BATCH: Final = 2
WIDTH: Final = 64
HIDDEN: Final = 128

CARD: Final = Card(
    summary="An MR image of a label map of seven classes, slice by slice, by a SPADE generator.",
    citation=CITATION,
    published_figures="none of the generator alone",
    limits=GENERATOR_LIMITS,
)


def spec(plane: tuple[int, int] = PLANE) -> ModelSpec:
    """Return the steps around the network, on slices of that size."""
    stage = Stage(
        name="image",
        before=(Orient(axes="SPL"), CropOrPadInPlane(axis=0, shape=plane), OneHot(values=CLASSES)),
        network=Network(
            graphs=("spade",),
            channels_in=len(CLASSES),
            channels_out=1,
            execution=SlicesAlong(axis=0, batch=BATCH),
        ),
        after=(LABELS_BACK,),
    )
    labels = Sequence(name="labels", description="a label map of the classes 0 to 6")
    return ModelSpec(name="spade", task=Task.SYNTHESIS, inputs=(labels,), stages=(stage,), labels=())


def spade_graphs(width: int = WIDTH, hidden: int = HIDDEN) -> tuple[GraphSource, ...]:
    """Return the generator, of the paper's width unless stated."""
    return (
        own_graph("spade", own_network("spade:SPADEGenerator", len(CLASSES), width=width, hidden=hidden), (2, 64, 64)),
    )


RECIPE: Final = weightless(
    name="spade",
    summary="a generator: an MR image of a label map; bring the weights",
    model=one_model(spec, spade_graphs, CARD),
)
