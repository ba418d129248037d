"""Weights that come with the program, and what their recipes say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from brain_edge.package.manifest import Card, Licence
from brain_edge_conversion.recipe import SHIPPED, WeightsFile

FOLDER: Final = Path(__file__).parents[1] / "fitting" / "weights"
FITTED_CASES: Final = 1
"""The labelled tumours that are at hand: TCGA-FG-6692."""


def shipped_file(source: str) -> Path:
    """Where the weights lie whose source begins with `shipped:`."""
    return FOLDER / source.removeprefix(SHIPPED)


def shipped_weights(name: str, sha256: str) -> WeightsFile:
    """The weights of a recipe, float16 in safetensors."""
    return WeightsFile(f"{SHIPPED}{name}.safetensors", sha256)


def fit_card(summary: str, citation: str) -> Card:
    """Of a network that was fit to so few cases that it is good for testing this program alone."""
    return Card(
        summary=f"Brain tumour compartments of four sequences by {summary}, fit to {FITTED_CASES} case.",
        citation=citation,
        published_figures="none: this network is not the published one",
        limits=f"Fit for testing on {FITTED_CASES} case, not for use. Its labels are the vote of five algorithms, not "
        "a person's, and a Dice on that case is on what the network has seen.",
    )


def fit_licence() -> Licence:
    """Weights carry the licence of the images that they were fit to."""
    return Licence(
        name="CC BY 3.0",
        holder="The Cancer Imaging Archive, TCGA-LGG",
        notes="Fit to the case TCGA-FG-6692 (Pedano et al. 2016), for testing.",
    )
