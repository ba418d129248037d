"""meshnet-subcortical: cortex, white matter and 15 subcortical structures, 30 channels (brainchop's `subcortical`)."""

from __future__ import annotations

from typing import Final

from brain_edge.spec import Label
from brain_edge_conversion.recipe import ModelSource, Recipe, Variant, WeightsFile
from brain_edge_conversion.recipes._meshnet import meshnet_source

WEIGHTS: Final = WeightsFile(
    source="subcortical/model.pth of neuroneural/brainchop-models",
    sha256="aa5235ab3a034135277c47f8e7c32849895c6e31ee6c4e942d63a6aec5ff4ee4",
    fetchable=False,
)

NAMES: Final = (
    "Cerebral-White-Matter",
    "Cerebral-Cortex",
    "Lateral-Ventricle",
    "Inferior-Lateral-Ventricle",
    "Cerebellum-White-Matter",
    "Cerebellum-Cortex",
    "Thalamus",
    "Caudate",
    "Putamen",
    "Pallidum",
    "3rd-Ventricle",
    "4th-Ventricle",
    "Brain-Stem",
    "Hippocampus",
    "Amygdala",
    "Accumbens-area",
    "VentralDC",
)
"""`colormap.json` beside the weights, value 0 ("Unknown") left out."""


def model(_variant: Variant) -> ModelSource:
    """Return the network and its steps. There is nothing to choose."""
    labels = tuple(Label(value=value, name=name) for value, name in enumerate(NAMES, start=1))
    summary = "Cortex, white matter and 15 subcortical structures of T1w heads with a MeshNet of 30 channels."
    return meshnet_source("meshnet-subcortical", labels, WEIGHTS, "SUBCORTICAL", summary)


RECIPE: Final = Recipe(
    name="meshnet-subcortical",
    summary="17 structures of T1w heads, 0.8 MB MeshNet (MIT)",
    model=model,
    weights="bring the file: subcortical/model.pth of brainchop-models",
    cohort="brainchop-t1",
)
