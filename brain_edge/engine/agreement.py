"""What each member of an ensemble, or each mirroring, would have said alone: how sure the networks are of an image."""

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
    """The labels of every pass of a network and of all together, on the network's own grid, a byte per voxel.

    Attributes:
        sides: of the network's grid.
        passes: labels (I, J, K) of each pass so far.
        together: those of the mean of all passes.
    """

    sides: tuple[int, ...]
    passes: list[LabelArray] = field(default_factory=list)
    together: LabelArray | None = None

    def watcher(self, decide: Callable[[FloatArray], LabelArray]) -> See:
        """What `brain_edge.engine.inference.predict` shows each block to.

        Args:
            decide: labels (1, i, j, k) of probabilities (D, i, j, k).
        """

        def see(number: int, place: Place, probabilities: FloatArray) -> None:
            if number == len(self.passes):
                self.passes.append(np.zeros(self.sides, dtype=np.uint8))
            self.passes[number][place] = decide(probabilities)[0]

        return see

    def agreement(self, names: Mapping[int, str]) -> dict[str, float]:
        """The least Dice of a pass with all together, by the name of the label; empty where nothing was decided.

        1 for a label that neither has. It costs a comparison per pass on the grid of the network: no pass is mapped
        back or cleaned up.

        Args:
            names: of the labels without background.
        """
        if self.together is None:
            return {}
        least: dict[str, float] = {}
        for member in self.passes:
            for value, name in names.items():
                score = dice(member == value, self.together == value)
                least[name] = min(least.get(name, 1.0), 1.0 if score is None else score)
        return least
