"""Agreement of each ensemble member, or each mirroring, with their mean: the certainty of the networks on an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from brain_edge.image.metrics import dice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from brain_edge.engine.inference import See
    from brain_edge.image.volume import FloatArray, LabelArray
    from brain_edge.spec.tiling import Place


@dataclass(eq=False)
class MemberLabels:
    """Labels of every pass of a network and of their mean, on the network's own grid, one byte per voxel.

    Attributes:
        sides: sides of the network's grid in voxels.
        passes: labels (I, J, K) of each pass so far.
        together: labels (I, J, K) of the mean of all passes.
    """

    sides: tuple[int, ...]
    passes: list[LabelArray] = field(default_factory=list)
    together: LabelArray | None = None

    def watcher(self, decide: Callable[[FloatArray], LabelArray]) -> See:
        """Return the function to which `brain_edge.engine.inference.predict` passes each block.

        Args:
            decide: function from probabilities (D, i, j, k) to labels (1, i, j, k).
        """

        def see(number: int, place: Place, probabilities: FloatArray) -> None:
            if number == len(self.passes):
                self.passes.append(np.zeros(self.sides, dtype=np.uint8))
            self.passes[number][place] = decide(probabilities)[0]

        return see

    def agreement(self, names: Mapping[int, str]) -> dict[str, float]:
        """Return the lowest Dice of a pass with the mean, by label name; empty if no labels were recorded.

        A label that neither contains has Dice 1. The cost is one comparison per pass on the network's grid: no pass is
        resampled back or cleaned up.

        Args:
            names: names of the labels without background, by value.
        """
        if self.together is None:
            return {}
        least: dict[str, float] = {}
        for member in self.passes:
            for value, name in names.items():
                score = dice(member == value, self.together == value)
                least[name] = min(least.get(name, 1.0), 1.0 if score is None else score)
        return least
