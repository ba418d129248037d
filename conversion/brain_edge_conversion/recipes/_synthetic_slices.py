"""The study of synthetic brain slices (PGAN, SPADE, and the 2D U-Net that was trained on what they make).

Foroozandeh, Eklund, "Synthesizing brain tumor images and annotations by combining progressive growing GAN and SPADE"
(arXiv 2009.05946). Seven classes: background, necrotic and non-enhancing core, oedema, enhancing, white matter, grey
matter, cerebrospinal fluid; with four classes the last three are background, with two the first three are tumour. Axial
slices of 240 x 240, padded with zeros to 256 x 256; which way up is not stated, chosen: the rows of a slice from front
to back, and from right to left in them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.package.manifest import Card
from brain_edge.spec import Label, ModelSpec, Network, PlausibleLabel, SlicesAlong, Stage
from brain_edge.spec.steps import Argmax, CropOrPadInPlane, Orient
from brain_edge_conversion.recipe import GraphSource, ModelSource, Recipe
from brain_edge_conversion.recipes._tumour import (
    LABELS_BACK,
    LICENCE,
    LIMITS,
    NECROSIS,
    OEDEMA,
    T1C,
    own_graph,
    own_network,
    tumour_spec,
    weightless,
)

if TYPE_CHECKING:
    from brain_edge_conversion.recipe import Variant

PLANE: Final = (256, 256)
BATCH: Final = 8
WIDTH: Final = 64
CITATION: Final = "Foroozandeh, Eklund, arXiv 2009.05946"
ENHANCING: Final = Label(value=3, name="enhancing")
TISSUES: Final = (
    Label(value=4, name="white-matter"),
    Label(value=5, name="grey-matter"),
    Label(value=6, name="cerebrospinal-fluid"),
)
LABELS: Final = {
    7: (NECROSIS, OEDEMA, ENHANCING, *TISSUES),
    4: (NECROSIS, OEDEMA, ENHANCING),
    2: (Label(value=1, name="tumour"),),
}
"""Labels by number of classes, background included."""

GENERATOR_LIMITS: Final = (
    "No registry holds trained weights. With random weights only speed, memory and parity can be measured. What it "
    "makes is synthetic, and no image of a patient."
)

CORRECTED: Final = "the bridge had two convolutions (down.4.3, down.4.4), where the paper has one"
DICE_ERROR: Final = {7: "10.94", 4: "6.62", 2: "2.49"}


def unet_recipe(classes: int) -> Recipe:
    """Return the recipe of the U-Net for that many classes."""
    name = f"unet-2d-{classes}-classes"
    return weightless(
        name=name,
        summary=f"tumour of T1w after contrast, {classes} classes, slice by slice; bring the weights",
        model=partial(_model, name, classes),
    )


def unet_spec(name: str, classes: int, plane: tuple[int, int] = PLANE) -> ModelSpec:
    """Return the steps around the U-Net; the training set's maximum and mean are in the network."""
    stage = Stage(
        name="slices",
        before=(Orient(axes="SPL"), CropOrPadInPlane(axis=0, shape=plane)),
        network=Network(
            graphs=("unet",), channels_in=1, channels_out=classes, execution=SlicesAlong(axis=0, batch=BATCH)
        ),
        after=(Argmax(), LABELS_BACK),
    )
    found = tumour_spec(name, stage, inputs=(T1C,), labels=LABELS[classes])
    return msgspec.structs.replace(found, plausible=msgspec.structs.replace(found.plausible, labels=_ranges(classes)))


def _ranges(classes: int) -> tuple[PlausibleLabel, ...]:
    """Return ranges in which tissues are larger than tumours. No slice of a head needs to hold any of them."""
    return tuple(
        PlausibleLabel(label=label.value, volume_ml=(0.0, 1200.0 if label in TISSUES else 400.0), max_border_share=0.05)
        for label in LABELS[classes]
    )


def unet_graphs(classes: int, width: int = WIDTH) -> tuple[GraphSource, ...]:
    """Return the U-Net, of the paper's width unless stated."""
    return (own_graph("unet", own_network("unet2d:UNet2D", classes, width=width), (2, 32, 32), corrected=CORRECTED),)


def _model(name: str, classes: int, _variant: Variant) -> ModelSource:
    return ModelSource(unet_spec(name, classes), unet_graphs(classes), _card(classes), LICENCE)


def _card(classes: int) -> Card:
    return Card(
        summary=f"Tumour and tissues of T1w after contrast by a 2D U-Net, {classes} classes, 25 million parameters.",
        citation=CITATION,
        published_figures=f"Dice error {DICE_ERROR[classes]} % with training on 26,040 real slices (the paper)",
        limits=f"{LIMITS} A slice is seen in its middle 256 x 256 voxels. The weights bring the greatest value and "
        "the mean of their training set.",
    )
