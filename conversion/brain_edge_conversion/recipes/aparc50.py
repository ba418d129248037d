"""aparc50: 34 parcels of the cortex and 15 structures, both sides together (brainchop's `model30chan50cls`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge_conversion.recipe import ModelSource, Recipe, Variant
from brain_edge_conversion.recipes._niivue import CORTEX_ML, Published, numbered, plausible_structures

if TYPE_CHECKING:
    from torch import nn

STRUCTURES: Final = (
    "Cerebral-White-Matter",
    "Ventricle",
    "Cerebellum-White-Matter",
    "Cerebellum",
    "Thalamus-Proper",
    "Caudate",
    "Putamen",
    "Pallidum",
    "Brain-Stem",
    "Hippocampus",
    "Amygdala",
    "CSF",
    "Accumbens-area",
    "VentralDC",
    "Corpus-callosum",
)
LABELS: Final = numbered((*STRUCTURES, *(f"ctx-{parcel}" for parcel in CORTEX_ML)))
"""`colormap_aparc50.json` beside the weights, value 0 ("BG") left out."""


def network() -> nn.Module:
    """Return the network of 30 channels."""
    from brain_edge_conversion.networks.meshnet import MeshNet, MeshNetActivation, MeshNetConfig

    return MeshNet(MeshNetConfig(channels=30, classes=50, activation=MeshNetActivation.ELU))


MODEL: Final = Published(
    name="aparc50",
    graph="meshnet",
    summary="Cortical parcels and structures of T1w heads, 49 labels, with a MeshNet of 30 channels.",
    file="net_aparc50.safetensors",
    sha256="16026d8f3443d96ec9d4554a3daebaf995824a23e429b3c3c83d19fa2a9eb144",
    network=network,
    labels=LABELS,
    plausible=plausible_structures(LABELS),
)


def model(_variant: Variant) -> ModelSource:
    """Return the network and its steps. There is nothing to choose."""
    return MODEL.model


RECIPE: Final = Recipe(
    name="aparc50",
    summary="49 cortical parcels and structures of T1w heads, 0.4 MB MeshNet (BSD-2-Clause)",
    model=model,
    weights="bring the file: public/net_aparc50.safetensors of niivue-tinygrad",
    cohort="brainchop-t1",
)
