"""Smallest box around the true voxels of a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from brain_edge.image.geometry import Box


def bounding_slices(mask: NDArray[Any]) -> tuple[slice, ...] | None:
    """Return the smallest box around the true voxels of a mask of any number of axes, or None if there are none."""
    spans = []
    for axis in range(mask.ndim):
        planes = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if planes.size == 0:
            return None
        spans.append(slice(int(planes[0]), int(planes[-1]) + 1))
    return tuple(spans)


def bounding_box(mask: NDArray[Any]) -> Box | None:
    """Return the smallest box around the true voxels (I, J, K), or None if there are none."""
    spans = bounding_slices(mask)
    if spans is None:
        return None
    i, j, k = ((span.start, span.stop) for span in spans)
    return (i, j, k)
