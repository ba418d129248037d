"""One interpolation of an image or a label map through a composed transform onto another grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, overload

import numpy as np

from brain_edge.errors import UsageError
from brain_edge.image.resample import Interpolation
from brain_edge.image.volume import Mask, Volume

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brain_edge.image.geometry import Affine, Geometry
    from brain_edge.image.volume import LabelArray
    from brain_edge.registration.rigid import Rigid

Array = np.ndarray[Any, np.dtype[np.float32]]

SPLINE_ORDER: Final[Mapping[Interpolation, Literal[0, 1, 3]]] = {
    Interpolation.NEAREST: 0,
    Interpolation.LINEAR: 1,
    Interpolation.CUBIC: 3,
}


@overload
def resample_through(
    source: Volume, transform: Rigid, grid: Geometry, interpolation: Interpolation | None = None
) -> Volume: ...
@overload
def resample_through(
    source: Mask, transform: Rigid, grid: Geometry, interpolation: Interpolation | None = None
) -> Mask: ...
def resample_through(
    source: Volume | Mask, transform: Rigid, grid: Geometry, interpolation: Interpolation | None = None
) -> Volume | Mask:
    """Return an image or a label map on `grid`, interpolated once.

    Points outside of the source get its lowest intensity, or the background. Labels are never blended: a voxel gets
    the label of the nearest voxel, or (linear) the label with the greatest weight among its neighbours. Nearest keeps
    the volume of small lesions, which linear shrinks.

    Args:
        source: image or label map in the moving world.
        transform: map from the world of `grid` to the world of the source.
        grid: grid of the result.
        interpolation: method between voxel centres; by default linear for an image, and nearest for labels.

    Raises:
        UsageError: cubic interpolation of labels, which has negative weights.
        InputError: the grid lies outside of the image, and the result is empty.
    """
    matrix = np.linalg.inv(source.geometry.affine) @ transform.matrix @ grid.affine
    if isinstance(source, Volume):
        method = interpolation or Interpolation.LINEAR
        return Volume(_sampled(source.voxels, matrix, grid, method), grid, source.name)
    if interpolation is Interpolation.CUBIC:
        raise UsageError("expected nearest or linear interpolation of labels, got cubic, which has negative weights")
    return Mask(_labels(source.labels, matrix, grid, interpolation or Interpolation.NEAREST), grid)


def _sampled(voxels: Array, matrix: Affine, grid: Geometry, interpolation: Interpolation) -> Array:
    """Return voxels at the voxel centres of `grid`; `matrix` maps voxel indices of the grid to those of `voxels`."""
    from scipy.ndimage import affine_transform

    order = SPLINE_ORDER[interpolation]
    found = np.empty(grid.shape, dtype=np.float32)
    affine_transform(voxels, matrix[:3, :3], matrix[:3, 3], output=found, order=order, mode="nearest")
    found[~_inside(voxels.shape, matrix, grid)] = voxels.min()
    return np.asarray(found)


def _inside(shape: tuple[int, ...], matrix: Affine, grid: Geometry) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return True for each voxel of `grid` whose centre lies within the outer voxel edges of a source of `shape`."""
    i, j, k = np.ogrid[tuple(slice(side) for side in grid.shape)]
    inside = np.ones(grid.shape, dtype=np.bool_)
    for row, side in zip(matrix[:3], shape, strict=True):
        index = row[0] * i + (row[1] * j + (row[2] * k + row[3]))
        inside &= (index >= -0.5) & (index <= side - 0.5)
    return inside


def _labels(labels: LabelArray, matrix: Affine, grid: Geometry, interpolation: Interpolation) -> LabelArray:
    """Return the label of the greatest weight for each voxel of `grid`; the lower label wins a tie."""
    best = np.zeros(grid.shape, dtype=np.uint8)
    weight = np.full(grid.shape, -1.0, dtype=np.float32)
    outside = ~_inside(labels.shape, matrix, grid)
    for label in np.union1d([0], labels):
        share = _sampled(np.asarray(labels == label, dtype=np.float32), matrix, grid, interpolation)
        share[outside] = float(label == 0)
        better = share > weight
        best[better], weight[better] = label, share[better]
    return best
