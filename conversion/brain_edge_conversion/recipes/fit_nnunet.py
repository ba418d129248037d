"""A narrow region-based nnU-Net that was fit to one case: to show what INT8 costs this topology, not for use.

Steps, labels and topology are those of the recipe `nnunet-loss-ensemble`; the network is a quarter as wide, has four
levels of its six and works in windows of 64^3. The weights come with the program; `python -m
brain_edge_conversion.fitting fit-nnunet` made them, of `tcga-fg-6692-fit`, whose labels are the vote of five
algorithms. Any Dice of it on that case is on what it has seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge_conversion.recipe import GraphSource, ModelSource, Recipe, Variant
from brain_edge_conversion.recipes._tumour import STAND_IN, loader
from brain_edge_conversion.recipes.nnunet_loss_ensemble import CARD as PUBLISHED
from brain_edge_conversion.recipes.nnunet_loss_ensemble import nnunet, spec
from brain_edge_conversion.weights.lesson import Head, Lesson
from brain_edge_conversion.weights.shipped import FITTED_CASES, fit_card, fit_licence, shipped_weights

if TYPE_CHECKING:
    from torch import nn

COHORT: Final = "tcga-fg-6692-fit"
NAME: Final = "fit-nnunet"
FEATURES: Final = (8, 16, 32, 32)
PATCH: Final = (64, 64, 64)
LESSON: Final = Lesson(steps=500, patch=PATCH, head=Head.REGIONS, targets=((1, 2, 4), (1, 4), (4,)), learning_rate=5e-3)
WEIGHTS: Final = shipped_weights(NAME, "bafca367e04ff9b93f8e044ab8bea171d5cdeaf5ea9c80e07264eaaccd925581")
CARD: Final = fit_card("a region-based nnU-Net, a quarter as wide and with four levels of six", PUBLISHED.citation)


def model(_variant: Variant) -> ModelSource:
    """Return the network and the steps of the paper around it."""
    graph = GraphSource("fold0", loader(network), WEIGHTS, (16, 16, 16))
    fitted = msgspec.structs.replace(spec(patch=PATCH), name=NAME)
    return ModelSource(fitted, (graph,), CARD, fit_licence(), fitted_on=FITTED_CASES)


def network() -> nn.Module:
    """Return the network that is fit."""
    return nnunet(FEATURES, is_version_1=False)


RECIPE: Final = Recipe(
    name=NAME,
    summary="a narrow region-based nnU-Net, fit for testing on 1 case, not for use",
    model=model,
    weights=WEIGHTS.source,
    cohort=COHORT,
    parity_phantom=STAND_IN,
)
