"""A mask with a border: wider, for those who would rather keep a little too much."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from brain_edge.errors import UsageError
from brain_edge.image.volume import Mask

if TYPE_CHECKING:
    BoolArray: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def with_border(mask: Mask, border_mm: float) -> Mask:
    """Add to a mask of one label every voxel whose centre lies within `border_mm` of it (Euclidean, in mm).

    Negative values take away as much from inside. This is what SynthStrip's `--border` means.

    Raises:
        UsageError: the mask has several labels; which of them should grow is not ours to say. Or the border is
            not a finite number, or so negative that nothing is left.
    """
    if not math.isfinite(border_mm):
        raise UsageError(f"expected a border in mm, got {border_mm}")
    if border_mm == 0:
        return mask
    labels = np.unique(mask.labels[mask.labels > 0])
    if labels.size > 1:
        raise UsageError(f"--border needs a mask of one label, this one has {', '.join(map(str, labels))}")
    if labels.size == 0:
        return mask
    inside = mask.labels > 0
    grown = _distance_mm(inside, mask) <= border_mm if border_mm > 0 else _distance_mm(~inside, mask) > -border_mm
    if not grown.any():
        raise UsageError(f"a border of {border_mm:g} mm leaves nothing of this mask; take a smaller one")
    return Mask(np.where(grown, labels[0], np.uint8(0)), mask.geometry)


def _distance_mm(target: BoolArray, mask: Mask) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Distance of every voxel to the nearest voxel of `target`, between centres; infinite where there is none."""
    from scipy.ndimage import distance_transform_edt

    if not target.any():
        return np.full(target.shape, np.inf)
    return np.asarray(distance_transform_edt(~target, sampling=mask.geometry.spacing_mm))
