"""Parameters of a fit: targets and duration. Recipes state them, `brain_edge_conversion.fitting.fit` uses them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Head(StrEnum):
    """Last activation of a network, which decides the loss."""

    CLASSES = "classes"
    """Softmax: cross-entropy with the number of the label, and Dice of each label."""
    REGIONS = "regions"
    """Sigmoid of nested regions: binary cross-entropy and Dice of each."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Parameters of the fit of a network.

    Attributes:
        steps: number of optimiser steps, one patch each.
        patch: sides of a patch, voxels; None for the network's whole input.
        head: last activation of the network.
        targets: labels of each output channel: one label for a class, the united labels for a region.
        learning_rate: initial learning rate; it falls to 0 along half a cosine.
        seed: seed of the patches and the initial weights.
    """

    steps: int
    patch: tuple[int, int, int] | None
    head: Head
    targets: tuple[tuple[int, ...], ...]
    learning_rate: float = 3e-3
    seed: int = 0
