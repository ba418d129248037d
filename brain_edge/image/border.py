"""Border around a mask, in mm: for users who prefer a mask that is slightly too wide."""

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

    A negative border removes a layer of that width from the mask. SynthStrip's `--border` has the same meaning.

    Raises:
        UsageError: the mask has several labels, and the label to grow is ambiguous. Or the border is not a finite
            number, or is so negative that the mask becomes empty.
    """
    if not math.isfinite(border_mm):
        raise UsageError(f"expected a border in mm, got {border_mm}")
    if border_mm == 0:
        return mask
    labels = np.unique(mask.labels[mask.labels > 0])
    if labels.size > 1:
        raise UsageError(
            f"--border needs a mask of one label, got the labels {', '.join(map(str, labels))}; remove --border"
        )
    if labels.size == 0:
        return mask
    inside = mask.labels > 0
    grown = _distance_mm(inside, mask) <= border_mm if border_mm > 0 else _distance_mm(~inside, mask) > -border_mm
    if not grown.any():
        raise UsageError(f"a border of {border_mm:g} mm removes the whole mask; choose a border closer to 0")
    return Mask(np.where(grown, labels[0], np.uint8(0)), mask.geometry)


def _distance_mm(target: BoolArray, mask: Mask) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Distance in mm from each voxel centre to the nearest centre in `target`; infinite where `target` is empty."""
    from scipy.ndimage import distance_transform_edt

    if not target.any():
        return np.full(target.shape, np.inf)
    return np.asarray(distance_transform_edt(~target, sampling=mask.geometry.spacing_mm))
