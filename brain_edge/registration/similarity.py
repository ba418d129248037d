"""Normalised mutual information of two images at points of the fixed image, without a library of registration.

The judge of a registration must not be the program that found it. NMI is Studholme's (H(A) + H(B)) / H(A, B): 1 where
one image says nothing about the other, 2 where it says all (Pattern Recognition 32, 1999).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from brain_edge.image.geometry import Affine
    from brain_edge.image.volume import Mask, Volume
    from brain_edge.registration.rigid import Points, Rigid
    from brain_edge.registration.working import Pair

Array = np.ndarray[Any, Any]

BINS: Final = 32
CLIPPED_PERCENT: Final = (0.5, 99.5)
"""Percentiles between which intensities are binned: fat and vessels would take most bins otherwise."""
MOST_POINTS: Final = 50_000
"""Points beyond which the histogram of 1024 cells gains nothing: a brain at 3 mm has as many."""
MOST_INSIDE: Final = 150_000
"""Points of a comparison at the resolution of the images."""
LEAST_POINTS: Final = 500
"""Fewest points from which a joint histogram of 32 x 32 bins says anything."""


@dataclass(frozen=True, eq=False)
class Sampler:
    """Points of the fixed image and the moving image, ready to be compared at any transform.

    Attributes:
        points: world points (N, 3) of the fixed image, mm.
        fixed: bin of the fixed image at each point, (N,) int64.
        moving: bins of the moving image, (I, J, K) float32 from 0 to `BINS` - 1.
        to_voxel: world to voxel index of `moving`.
    """

    points: Points
    fixed: Array
    moving: Array
    to_voxel: Array

    @classmethod
    def of(cls, pair: Pair, spacing_mm: float) -> Sampler:
        """Take points of the fixed image (of its mask, if any) on a lattice of this spacing."""
        small = pair.at(spacing_mm)
        chosen = _foreground(small.fixed, small.fixed_mask)
        index = np.argwhere(chosen)
        index = index[:: len(index) // MOST_POINTS + 1]
        points = index @ small.fixed.geometry.affine[:3, :3].T + small.fixed.geometry.affine[:3, 3]
        fixed = np.rint(_binned(small.fixed, small.fixed_mask)[tuple(index.T)]).astype(np.int64)
        moving = _binned(small.moving, small.moving_mask)
        return cls(points, fixed, moving, np.linalg.inv(small.moving.geometry.affine))

    @classmethod
    def inside(cls, moving: Volume, fixed: Volume, region: Mask, start: Rigid) -> Sampler:
        """Take voxels of the fixed image in a region, neither smoothed nor resampled.

        Args:
            moving: moving image.
            fixed: fixed image.
            region: region on the grid of `fixed`.
            start: transform at which intensities of `moving` in the region give the range of its bins.
        """
        from scipy.ndimage import map_coordinates

        index = np.argwhere(region.labels)
        index = index[:: len(index) // MOST_INSIDE + 1]
        points = index @ fixed.geometry.affine[:3, :3].T + fixed.geometry.affine[:3, 3]
        to_voxel = np.linalg.inv(moving.geometry.affine)
        voxel = to_voxel[:3, :3] @ start.moved(points).T + to_voxel[:3, 3:]
        shown = fixed.voxels[tuple(index.T)]
        bins = np.rint(_scaled(shown, shown)).astype(np.int64)
        return cls(points, bins, _scaled(moving.voxels, map_coordinates(moving.voxels, voxel, order=1)), to_voxel)

    def nmi(self, matrix: Affine) -> float:
        """Return the NMI at a 4 x 4 transform, which may mirror; 1 where too few points are left."""
        from scipy.ndimage import map_coordinates

        to_voxel = self.to_voxel @ matrix
        index = to_voxel[:3, :3] @ self.points.T + to_voxel[:3, 3:]
        found = map_coordinates(self.moving, index, order=1, mode="constant", cval=-1.0, output=np.float32)
        inside = found >= 0
        if np.count_nonzero(inside) < max(LEAST_POINTS, len(found) // 4):
            return 1.0
        joint = np.bincount(self.fixed[inside] * BINS + np.rint(found[inside]).astype(np.int64), minlength=BINS * BINS)
        table = joint.reshape(BINS, BINS) / joint.sum()
        return (_entropy(table.sum(axis=0)) + _entropy(table.sum(axis=1))) / max(_entropy(table.ravel()), 1e-12)


def _entropy(shares: Array) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum())


def _foreground(volume: Volume, mask: Mask | None) -> Array:
    """Return True where the points lie: in the mask, or where the image is brighter than half of its mean."""
    if mask is not None and mask.labels.any():
        return np.asarray(mask.labels > 0)
    return np.asarray(volume.voxels - volume.voxels.min() > (volume.voxels.mean() - volume.voxels.min()) / 2)


def _binned(volume: Volume, mask: Mask | None) -> Array:
    return _scaled(volume.voxels, volume.voxels[_foreground(volume, mask)])


def _scaled(voxels: Array, counted: Array) -> Array:
    """Return intensities as bins, float32 from 0 to `BINS` - 1, between the percentiles of those that count."""
    low, high = np.percentile(counted, CLIPPED_PERCENT)
    scaled = (voxels - low) * ((BINS - 1) / max(high - low, 1e-6))
    return np.asarray(np.clip(scaled, 0, BINS - 1), dtype=np.float32)
