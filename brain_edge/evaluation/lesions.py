"""Lesion-wise recall: the number of reference lesions, of any size, that a mask touches.

The Dice of a patient with many lesions depends on the largest ones; a small lesion that is lost hardly changes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from brain_edge.errors import GeometryError
from brain_edge.image.components import components

if TYPE_CHECKING:
    from brain_edge.image.metrics import BoolArray


class LesionRecall(NamedTuple):
    """Lesion counts of one label in one case: lesions in the reference, and lesions that a mask touches."""

    found: int
    lesions: int


def lesion_recall(mask: BoolArray, reference: BoolArray) -> LesionRecall:
    """Count the components of a reference (I, J, K) that share a voxel with a mask.

    Components are 26-connected, as in the lesion-wise metrics of the MSSEG and BraTS challenges: voxels that share a
    corner belong to one lesion.

    Raises:
        GeometryError: the shapes of the masks differ.
    """
    if mask.shape != reference.shape:
        raise GeometryError(f"expected masks on one grid, got the shapes {mask.shape} and {reference.shape}")
    lesions, count = components(reference.astype(np.uint8))
    touched = np.unique(lesions[mask])
    return LesionRecall(int(np.count_nonzero(touched)), int(count))
