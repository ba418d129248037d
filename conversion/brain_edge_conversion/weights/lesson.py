"""What a network is fit to and for how long; recipes state it, `brain_edge_conversion.fitting.fit` does it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Head(StrEnum):
    """What a network ends in, and so what it is fit to."""

    CLASSES = "classes"
    """Softmax: cross-entropy with the number of the label, and Dice of each label."""
    REGIONS = "regions"
    """Sigmoid of nested regions: binary cross-entropy and Dice of each."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How a network is fit.

    Attributes:
        steps: of the optimiser, one patch each.
        patch: sides that a step sees; None for all that the network sees in a run.
        head: what it ends in.
        targets: labels of each output channel: for classes one each, for regions those whose union it is.
        learning_rate: at the beginning; it falls to 0 on half a cosine.
        seed: of the patches and the first weights.
    """

    steps: int
    patch: tuple[int, int, int] | None
    head: Head
    targets: tuple[tuple[int, ...], ...]
    learning_rate: float = 3e-3
    seed: int = 0
