"""Connected components of a mask and its holes: the only module that imports cc3d and fill_voids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.unsignedinteger[Any]]

Connectivity = Literal[6, 18, 26]
"""Neighbours of a voxel: faces, faces and edges, faces, edges and corners."""


def components(labels: NDArray[Any], connectivity: Connectivity = 26) -> tuple[Numbers, int]:
    """The connected components of every label of a map.

    Args:
        labels: (I, J, K), 0 is background.
        connectivity: neighbours of a voxel.

    Returns:
        Numbers of the components (I, J, K) from 1, 0 where the background is; how many there are.
    """
    import cc3d

    numbers, count = cc3d.connected_components(_thick(labels), connectivity=connectivity, return_N=True)
    return _cut(numbers, labels.shape), int(count)


def largest(mask: NDArray[np.bool_], connectivity: Connectivity = 26) -> NDArray[np.bool_]:
    """The largest connected component of a mask (I, J, K); empty where the mask is."""
    import cc3d

    return _cut(cc3d.largest_k(_thick(mask), k=1, connectivity=connectivity), mask.shape) > 0


def without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask (I, J, K) or (I, J), and the background that it encloses."""
    import fill_voids

    # fill_voids 2.1 takes a pocket that opens only at an edge of the image, where two faces meet, for enclosed
    filled = fill_voids.fill(np.pad(mask, 1))
    return np.asarray(filled, dtype=bool)[(slice(1, -1),) * mask.ndim]


def _thick(labels: NDArray[Any]) -> NDArray[Any]:
    """The map with a layer of background along each axis of one voxel.

    cc3d (4.1.1) reserves too few numbers for the components of lines and planes of odd length with 26 neighbours, and
    ends with a RuntimeError: three voxels in a row of which the middle one is background.
    """
    return np.pad(labels, [(0, 1 if side == 1 else 0) for side in labels.shape]) if 1 in labels.shape else labels


def _cut(numbers: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    return numbers[tuple(slice(side) for side in shape)]
