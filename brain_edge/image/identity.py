"""Identity of an image: equal voxels in any container, or a copy that was reoriented, scaled or resampled.

`docs/decisions/0033-an-image-is-its-voxels.md` says what is compared and where the limit comes from.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.image.geometry import axis_moves

if TYPE_CHECKING:
    from brain_edge.image.volume import FloatArray, Volume

CANONICAL: Final = "RAS"
THUMBNAIL_SIDE: Final = 24
LEAST_SIDE: Final = 16
LEAST_VOXELS: Final = 250_000
"""Fewest voxels along an axis, and in total. A smaller or coarser image (about 3 mm) shows too little of a person."""

UPRIGHT_DEGREES: Final = 0.5
"""Largest angle between an axis of the grid and of the world at which slices count as upright."""
UPRIGHT_SIDE: Final = 4 * THUMBNAIL_SIDE

BORDER_SHARE: Final = 0.01
"""Share of the brightness above the mean that the box leaves out at each end of an axis, such as noise in air."""

COPY_CORRELATION: Final = 0.98
"""Correlation of two thumbnails above which one image is a copy of the other."""


def image_sha256(volume: Volume) -> str:
    """Return the SHA-256 of an image, independent of the file that holds it.

    The hash covers the shape and the intensities: float32 in C order, axes in the order and direction of RAS.
    Compression, container, header texts, storage type and axis order do not count. The position in the world does not
    count either, because each container rounds it differently: the same voxels elsewhere are the same head.
    """
    voxels = np.ascontiguousarray(_canonical(volume), dtype="<f4") + np.float32(0)  # -0 is 0
    digest = hashlib.sha256(repr(voxels.shape).encode())
    digest.update(voxels.data)
    return digest.hexdigest()


def thumbnail(volume: Volume) -> FloatArray | None:
    """Return the head in brief: float32 (13824,) of mean 0 and length 1; the product of two is their correlation.

    The thumbnail averages, in 24^3 cells along the world axes, the box around 98 % of the brightness above the mean.
    Intensity scale, voxel size, margins and slice angle do not count. An image with fewer than 16 voxels along an axis
    or 250 000 voxels in total has no thumbnail: None.
    """
    if min(volume.voxels.shape) < LEAST_SIDE or volume.voxels.size < LEAST_VOXELS:
        return None
    voxels = _upright(volume)
    bright = np.maximum(voxels - float(voxels.mean(dtype=np.float64)), 0)
    cells = [_cells(bright.sum(axis=others, dtype=np.float64)) for others in ((1, 2), (0, 2), (0, 1))]
    short = np.einsum("ijk,ck->ijc", voxels, cells[2], optimize=True)
    short = np.einsum("ijc,bj->ibc", short, cells[1], optimize=True)
    short = np.einsum("ibc,ai->abc", short, cells[0], optimize=True).ravel()
    short = short - short.mean()
    length = float(np.linalg.norm(short))
    return np.asarray(short / length, dtype=np.float32) if length > 0 else None


def likeness(first: FloatArray | None, second: FloatArray | None) -> float:
    """Return the correlation of two thumbnails, -1 to 1; 0 where a thumbnail is None."""
    return 0.0 if first is None or second is None else float(first @ second)


def _canonical(volume: Volume) -> FloatArray:
    """Return the voxels along R, A, S, as a view."""
    moves = axis_moves(volume.geometry.orientation, CANONICAL)
    flips = tuple(slice(None, None, -1 if flipped else 1) for _, flipped in moves)
    return np.asarray(volume.voxels.transpose([axis for axis, _ in moves])[flips])


def _upright(volume: Volume) -> FloatArray:
    """Return the voxels along the world axes; oblique slices are sampled at 96^3 points of the box around them.

    Without that, a copy on an upright grid, as most programs write it, would be rotated by the angle of the slices.
    """
    affine = np.asarray(volume.geometry.affine)
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(cosines).max(axis=0).min() > np.cos(np.radians(UPRIGHT_DEGREES)):
        return _canonical(volume)
    from scipy.ndimage import affine_transform

    ends = np.indices((2, 2, 2)).reshape(3, -1) * (np.array(volume.voxels.shape)[:, None] - 1)
    corners = affine[:3, :3] @ ends + affine[:3, 3:]
    low, high = corners.min(axis=1), corners.max(axis=1)
    points = np.diag([*(high - low) / (UPRIGHT_SIDE - 1), 1.0])
    points[:3, 3] = low
    to_voxels = np.linalg.inv(affine) @ points
    air, shape = float(volume.voxels.min()), (UPRIGHT_SIDE,) * 3
    upright = affine_transform(volume.voxels, to_voxels[:3, :3], to_voxels[:3, 3], shape, order=1, cval=air)
    return np.asarray(upright, dtype=np.float32)


def _cells(bright: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> FloatArray:
    """Return weights (24, voxels) that average one axis in equal cells over the range that holds the brightness."""
    shares = np.concatenate([[0.0], np.cumsum(bright)]) / bright.sum()
    edges = np.arange(len(shares), dtype=np.float64)
    low, high = np.interp([BORDER_SHARE, 1 - BORDER_SHARE], shares, edges)
    cuts = np.linspace(low, high, THUMBNAIL_SIDE + 1)
    overlap = np.minimum(cuts[1:, None], edges[1:]) - np.maximum(cuts[:-1, None], edges[:-1])
    return np.asarray(np.maximum(overlap, 0) / np.diff(cuts)[:, None], dtype=np.float32)
