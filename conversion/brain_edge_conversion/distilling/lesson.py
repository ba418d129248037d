"""What a training needs: graphs, inputs, target and length. PyTorch is not needed here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brain_edge_conversion.mending.graphs import Graphs
    from brain_edge_conversion.mending.targets import Target


@dataclass(frozen=True)
class Schedule:
    """Length of a training.

    Attributes:
        steps: number of steps; the rate falls to zero over them, as half a cosine.
        every: number of steps between two examinations on the held-out inputs.
        patience: number of examinations without a better figure after which the training ends.
    """

    steps: int = 240
    every: int = 20
    patience: int = 4


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What a training needs.

    Attributes:
        graphs: quantised and float graph, and held-out inputs; the constants of the quantised graph are changed.
        files: `.npy` files of the inputs that crops are taken from.
        target: meaning of the output.
        checkpoint: file of the state of the training.
        threads: threads of PyTorch; 0 for its own choice.
        seed: seed of the crops.
        schedule: length of the training.
    """

    graphs: Graphs
    files: Sequence[Path]
    target: Target
    checkpoint: Path
    threads: int = 0
    seed: int = 0
    schedule: Schedule = Schedule()
