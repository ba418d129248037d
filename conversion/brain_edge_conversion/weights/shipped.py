"""Weights that come with the program, with the card and licence of their recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from brain_edge.package.manifest import Card, Licence
from brain_edge_conversion.recipe import SHIPPED, WeightsFile

FOLDER: Final = Path(__file__).parents[1] / "fitting" / "weights"
FITTED_CASES: Final = 1
"""Number of labelled tumours available for fits: TCGA-FG-6692."""


def shipped_file(source: str) -> Path:
    """Return the path of weights whose source begins with `shipped:`."""
    return FOLDER / source.removeprefix(SHIPPED)


def shipped_weights(name: str, sha256: str) -> WeightsFile:
    """Return the weights file of a recipe, float16 in safetensors."""
    return WeightsFile(f"{SHIPPED}{name}.safetensors", sha256)


def fit_card(summary: str, citation: str) -> Card:
    """Return the card of a network that was fitted to so few cases that it only serves to test this program."""
    return Card(
        summary=f"Brain tumour compartments of four sequences by {summary}, fit to {FITTED_CASES} case.",
        citation=citation,
        published_figures="none: this network is not the published one",
        limits=f"Fit for testing on {FITTED_CASES} case, not for use. The labels are the vote of five algorithms, not "
        "a person's, and a Dice on that case is a Dice on training data.",
    )


def fit_licence() -> Licence:
    """Return the licence of the images that the weights were fitted to; the weights carry the same licence."""
    return Licence(
        name="CC BY 3.0",
        holder="The Cancer Imaging Archive, TCGA-LGG",
        notes="Fit to the case TCGA-FG-6692 (Pedano et al. 2016), for testing.",
    )
