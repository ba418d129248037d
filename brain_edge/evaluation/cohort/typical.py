"""Filter for label maps that resemble real ones slice by slice, from a study of synthetic slices.

Foroozandeh, Eklund, "Synthesizing brain tumor images and annotations by combining progressive growing GAN and SPADE"
(arXiv 2009.05946): a map of 256 x 256 is left out if its pixel-wise z-score against the real maps has a norm above 500.
That is a root mean square of 500 / 256 standard deviations, which is also the limit for planes of other sides.

The paper does not state two choices of this module. Slices without a label are ignored on both sides. The standard
deviation of a pixel is at least that of one more real slice with the next class there; otherwise a single pixel of the
scalp would be infinitely far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from brain_edge.errors import GeometryError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    Slices: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]

LARGEST_NORM: Final = 500.0
PUBLISHED_SIDE: Final = 256
LARGEST_DEVIATION: Final = LARGEST_NORM / PUBLISHED_SIDE
"""Largest root mean square of the z-score of a slice that passes."""


@dataclass(frozen=True, eq=False)
class TypicalSlices:
    """Statistics of the slices of real label maps.

    Attributes:
        mean: mean (I, J) of the class numbers.
        deviation: standard deviation (I, J), above zero everywhere.
        slices: number of slices behind the statistics.
    """

    mean: Slices
    deviation: Slices
    slices: int

    @classmethod
    def of(cls, maps: Iterable[Slices]) -> TypicalSlices:
        """Compute the statistics of the slices (S, I, J) of each map.

        Raises:
            InputError: no slice of any map contains a label.
            GeometryError: the planes have different sides.
        """
        total = squares = np.zeros(())
        count = 0
        for labels in maps:
            values = _labelled(labels).astype(np.float64)
            if total.ndim and total.shape != values.shape[1:]:
                raise GeometryError(
                    f"expected real label maps with slices of {total.shape} voxels, got {values.shape[1:]}"
                )
            total, squares = total + values.sum(axis=0), squares + np.square(values).sum(axis=0)
            count += len(values)
        if not count:
            raise InputError("expected real label maps for comparison, got no slice with a label; give other maps")
        mean = total / count
        spread = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
        return cls(mean, np.maximum(spread, count**-0.5), count)

    def deviations(self, labels: Slices) -> Slices:
        """Return the root mean square z-score of each slice (S, I, J) that contains a label: (S',) float64.

        Raises:
            GeometryError: the planes have other sides than the real ones.
        """
        if labels.shape[1:] != self.mean.shape:
            raise GeometryError(
                f"expected slices of {self.mean.shape} voxels as in the real label maps, got {labels.shape[1:]}"
            )
        scores = (_labelled(labels) - self.mean) / self.deviation
        return np.asarray(np.sqrt(np.square(scores).mean(axis=(1, 2))))


def atypical(deviations: Slices) -> int:
    """Return the number of slices that are farther from the real ones than the study allows."""
    return int(np.count_nonzero(deviations > LARGEST_DEVIATION))


def _labelled(labels: Slices) -> Slices:
    """Return the slices that contain a label."""
    return labels[labels.any(axis=(1, 2))]
