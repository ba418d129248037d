"""A narrow Vox2Vox that was fit to one case: to show what INT8 costs this topology, not for use.

Topology and decision are those of the recipe `vox2vox`; the network is a sixteenth as wide, its crop lies in the middle
and is normalised afterwards, and 1 is oedema, 2 necrosis: so it was fit. The weights come with the program; `python -m
brain_edge_conversion.fitting fit-vox2vox` made them, of `tcga-fg-6692-fit-vox2vox`, whose labels are the vote of five
algorithms. Any Dice of it on that case is on what it has seen. They were fit before the decoder was corrected to take
the fourth concatenation: what it takes since then has weights of 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.spec import Label
from brain_edge.spec.steps import Argmax
from brain_edge_conversion.recipe import GraphSource, ModelSource, Recipe, Variant
from brain_edge_conversion.recipes._tumour import (
    FLAIR,
    NECROSIS_CODE,
    OEDEMA_CODE,
    STAND_IN,
    T1,
    T1C,
    T2,
    loader,
    own_network,
    tumour_spec,
)
from brain_edge_conversion.recipes.vox2vox import CROP, centred, vox2vox_stage
from brain_edge_conversion.weights.lesson import Head, Lesson
from brain_edge_conversion.weights.shipped import FITTED_CASES, fit_card, fit_licence, shipped_weights

if TYPE_CHECKING:
    from brain_edge.image.geometry import Shape
    from brain_edge.spec import ModelSpec

COHORT: Final = "tcga-fg-6692-fit-vox2vox"
NAME: Final = "fit-vox2vox"
WIDTH: Final = 4
LABELS: Final = (
    Label(value=1, name="oedema", code=OEDEMA_CODE),
    Label(value=2, name="necrosis", code=NECROSIS_CODE),
    Label(value=3, name="enhancing"),
)
LESSON: Final = Lesson(steps=90, patch=None, head=Head.CLASSES, targets=((0,), (1,), (2,), (3,)), learning_rate=6e-3)
WEIGHTS: Final = shipped_weights(NAME, "fa9d5c0abf50915b4ed2b9d9cbceee0f4418c3428ddc9c3974bb3b745c61ba2f")
CARD: Final = fit_card("Vox2Vox, a sixteenth as wide", "Cirillo, Abramian, Eklund, BrainLes 2020 (arXiv 2003.13653)")

network: Final = own_network("vox2vox:Vox2VoxGenerator", width=WIDTH)
"""The network that is fit."""


def model(_variant: Variant) -> ModelSource:
    """Return the network and the steps of the paper around it."""
    graph = GraphSource("model0", loader(network), WEIGHTS, (32, 32, 32))
    return ModelSource(spec(), (graph,), CARD, fit_licence(), fitted_on=FITTED_CASES)


def spec(crop: Shape = CROP) -> ModelSpec:
    """Return the steps around the network, on a crop of that shape."""
    stage = msgspec.structs.replace(vox2vox_stage(1, crop, Argmax()), before=centred(crop))
    return tumour_spec(NAME, stage, inputs=(T1, T2, T1C, FLAIR), labels=LABELS)


RECIPE: Final = Recipe(
    name=NAME,
    summary="a narrow Vox2Vox, fit for testing on 1 case, not for use",
    model=model,
    weights=WEIGHTS.source,
    cohort=COHORT,
    parity_phantom=STAND_IN,
)
