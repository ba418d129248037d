"""robust-subcortical: cortex, white matter and 15 structures (brainchop's `big_robust_tissue`).

The labels are those of `meshnet-subcortical`: both stand in `colormap_tissue_subcortical.json`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge_conversion.recipe import ModelSource, Recipe, Variant
from brain_edge_conversion.recipes._niivue import Published, numbered, plausible_structures
from brain_edge_conversion.recipes.meshnet_subcortical import NAMES

if TYPE_CHECKING:
    from torch import nn

LABELS: Final = numbered(NAMES)


def network() -> nn.Module:
    """Return the network of 32 channels."""
    from brain_edge_conversion.networks.dilated_autoencoder import DilatedAutoencoder

    return DilatedAutoencoder(width=32, classes=18)


MODEL: Final = Published(
    name="robust-subcortical",
    graph="robust",
    summary="Cortex, white matter and 15 structures of T1w heads, 18 dilated convolutions around one halving.",
    file="net_big_robust_tissue.safetensors",
    sha256="6822f4272f6e51729aedd4acec643626fb76e0a8b2cee659455dc98deee254bd",
    network=network,
    labels=LABELS,
    plausible=plausible_structures(LABELS),
)


def model(_variant: Variant) -> ModelSource:
    """Return the network and its steps. There is nothing to choose."""
    return MODEL.model


RECIPE: Final = Recipe(
    name="robust-subcortical",
    summary="17 structures of T1w heads, 3.5 MB (BSD-2-Clause)",
    model=model,
    weights="bring the file: public/net_big_robust_tissue.safetensors of niivue-tinygrad",
    cohort="brainchop-t1",
)
