"""Connected components and holes of a mask, found in the box around it. Only this module imports cc3d."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from brain_edge.image.box import bounding_slices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.unsignedinteger[Any]]

Connectivity = Literal[6, 18, 26]
"""Number of neighbours of a voxel: 6 across faces, 18 also across edges, 26 also across corners."""


def components(labels: NDArray[Any], connectivity: Connectivity = 26) -> tuple[Numbers, int]:
    """Number the connected components of every label of a map.

    Args:
        labels: label map (I, J, K); 0 is background.
        connectivity: number of neighbours of a voxel.

    Returns:
        Component numbers (I, J, K) from 1, with 0 for background; the number of components.
    """
    import cc3d

    box = bounding_slices(labels)
    if box is None:
        return np.zeros(labels.shape, dtype=np.uint8), 0
    inside = labels[box]
    found, count = cc3d.connected_components(_thick(inside), connectivity=connectivity, return_N=True)
    numbers = np.zeros(labels.shape, dtype=found.dtype)
    numbers[box] = _cut(found, inside.shape)
    return numbers, int(count)


def largest(mask: NDArray[np.bool_], connectivity: Connectivity = 26) -> NDArray[np.bool_]:
    """Return the largest connected component of a mask (I, J, K); an empty mask stays empty."""
    import cc3d

    kept = np.zeros(mask.shape, dtype=bool)
    box = bounding_slices(mask)
    if box is not None:
        inside = mask[box]
        kept[box] = _cut(cc3d.largest_k(_thick(inside), k=1, connectivity=connectivity), inside.shape) > 0
    return kept


def without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask (I, J, K) or (I, J) with the background that it encloses filled.

    Background is connected across faces. What is not connected with a margin around the mask is a hole.
    """
    import cc3d

    filled = np.array(mask, dtype=bool)
    box = bounding_slices(filled)
    if box is not None:
        background = ~np.pad(filled[box], 1)
        numbers = cc3d.connected_components(background, connectivity=2 * mask.ndim)
        filled[box] = (numbers != numbers.flat[0])[(slice(1, -1),) * mask.ndim]
    return filled


def _thick(labels: NDArray[Any]) -> NDArray[Any]:
    """Return the map with a layer of background added along each axis that is one voxel long.

    cc3d (4.1.1) reserves too few component numbers for lines and planes of odd length with 26 neighbours. It raises
    RuntimeError, for example on three voxels in a row with background in the middle.
    """
    return np.pad(labels, [(0, 1 if side == 1 else 0) for side in labels.shape]) if 1 in labels.shape else labels


def _cut(numbers: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    return numbers[tuple(slice(side) for side in shape)]
