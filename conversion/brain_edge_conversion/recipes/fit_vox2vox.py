"""A narrow Vox2Vox that was fit to one case: to show what INT8 costs this topology, not for use.

Steps, labels and topology are those of the recipe `vox2vox`; the network is a sixteenth as wide. The weights come with
the program; `python -m brain_edge_conversion.fitting fit-vox2vox` made them, of `tcga-fg-6692-fit-vox2vox`, whose
labels are the vote of five algorithms. Any Dice of it on that case is on what it has seen.
"""

from __future__ import annotations

from typing import Final

import msgspec

from brain_edge_conversion.recipe import GraphSource, ModelSource, Recipe, Variant
from brain_edge_conversion.recipes._tumour import STAND_IN, loader, own_network
from brain_edge_conversion.recipes.vox2vox import spec
from brain_edge_conversion.weights.lesson import Head, Lesson
from brain_edge_conversion.weights.shipped import FITTED_CASES, fit_card, fit_licence, shipped_weights

COHORT: Final = "tcga-fg-6692-fit-vox2vox"
NAME: Final = "fit-vox2vox"
WIDTH: Final = 4
LESSON: Final = Lesson(steps=90, patch=None, head=Head.CLASSES, targets=((0,), (1,), (2,), (3,)), learning_rate=6e-3)
WEIGHTS: Final = shipped_weights(NAME, "4138d966efb143679d1cde5e5cbf7db4be767b546ffbe8609e73ee5a9be0a71e")
CARD: Final = fit_card("Vox2Vox, a sixteenth as wide", "Cirillo, Abramian, Eklund, BrainLes 2020 (arXiv 2003.13653)")

network: Final = own_network("vox2vox:Vox2VoxGenerator", width=WIDTH)
"""What is fit."""


def model(_variant: Variant) -> ModelSource:
    """The network and the steps of the paper around it."""
    graph = GraphSource("model0", loader(network), WEIGHTS, (32, 32, 32))
    return ModelSource(
        msgspec.structs.replace(spec(), name=NAME), (graph,), CARD, fit_licence(), fitted_on=FITTED_CASES
    )


RECIPE: Final = Recipe(
    name=NAME,
    summary="a narrow Vox2Vox, fit for testing on 1 case, not for use",
    model=model,
    weights=WEIGHTS.source,
    cohort=COHORT,
    parity_phantom=STAND_IN,
)
