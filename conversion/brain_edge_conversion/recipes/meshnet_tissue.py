"""meshnet-tissue: white and grey matter with 5 channels and 24 kB of weights (brainchop's `model5_gw_ae`)."""

from __future__ import annotations

from typing import Final

from brain_edge.spec import Code, Label
from brain_edge_conversion.recipe import ModelSource, Recipe, Variant, WeightsFile
from brain_edge_conversion.recipes._meshnet import meshnet_source

WEIGHTS: Final = WeightsFile(
    source="model5_gw_ae/model.pth of neuroneural/brainchop-models",
    sha256="8b83b35b971305b9baeef9f927a5f0d4432c7beea60743f54e8d960031298ba3",
    fetchable=False,
)

LABELS: Final = (
    Label(value=1, name="white-matter", code=Code(scheme="SCT", value="68523003", meaning="Cerebral White Matter")),
    Label(value=2, name="grey-matter", code=Code(scheme="SCT", value="40146001", meaning="Cerebral cortex")),
)


def model(_variant: Variant) -> ModelSource:
    """Return the network and its steps. There is nothing to choose."""
    summary = "White and grey matter of T1w heads with a MeshNet of 5 channels."
    return meshnet_source("meshnet-tissue", LABELS, WEIGHTS, "TISSUE", summary)


RECIPE: Final = Recipe(
    name="meshnet-tissue",
    summary="white and grey matter of T1w heads, 24 kB MeshNet (MIT)",
    model=model,
    weights="bring the file: model5_gw_ae/model.pth of brainchop-models",
    cohort="brainchop-t1",
)
