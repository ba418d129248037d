"""robust-tissue: grey and white matter with dilated convolutions around one halving (brainchop's `robust_tissue`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.spec import Code, Label
from brain_edge_conversion.recipe import ModelSource, Recipe, Variant
from brain_edge_conversion.recipes._niivue import Published, plausible_structures

if TYPE_CHECKING:
    from torch import nn

LABELS: Final = (
    Label(value=1, name="grey-matter", code=Code(scheme="SCT", value="40146001", meaning="Cerebral cortex")),
    Label(value=2, name="white-matter", code=Code(scheme="SCT", value="68523003", meaning="Cerebral White Matter")),
)


def network() -> nn.Module:
    """Return the network of 16 channels."""
    from brain_edge_conversion.networks.dilated_autoencoder import DilatedAutoencoder

    return DilatedAutoencoder(width=16, classes=3)


MODEL: Final = Published(
    name="robust-tissue",
    graph="robust",
    summary="Grey and white matter of T1w heads with 18 dilated convolutions around one halving, 16 channels.",
    file="net_robust_tissue.safetensors",
    sha256="667a7257622fa94864c3e3aa8d8cf46558a4029f54db6f829870dba7de8585ce",
    network=network,
    labels=LABELS,
    plausible=plausible_structures(LABELS),
)


def model(_variant: Variant) -> ModelSource:
    """Return the network and its steps. There is nothing to choose."""
    return MODEL.model


RECIPE: Final = Recipe(
    name="robust-tissue",
    summary="grey and white matter of T1w heads, 0.9 MB (BSD-2-Clause)",
    model=model,
    weights="bring the file: public/net_robust_tissue.safetensors of niivue-tinygrad",
    cohort="brainchop-t1",
)
