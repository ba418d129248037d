"""Images at one resolution of the search: smoothed, on an isotropic grid around what is bright or masked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.image.geometry import Geometry
from brain_edge.image.resample import Interpolation
from brain_edge.image.volume import Mask, Volume
from brain_edge.registration.rigid import Rigid
from brain_edge.registration.through import resample_through

if TYPE_CHECKING:
    from brain_edge.image.geometry import Box
    from brain_edge.image.volume import FloatArray
    from brain_edge.registration.rigid import Points

FWHM: Final = 0.4247
"""Standard deviation of a Gaussian with a full width at half maximum of one."""
MARGIN_MM: Final = 10.0
"""Air around what is bright, so that the outline counts."""
SAME_SPACING: Final = 0.05
"""Relative difference up to which a spacing counts as the wanted one."""
BORDER_SHARE: Final = 0.005
"""Share of the brightness above the mean that the box leaves out at each end of an axis, such as noise in air."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images to register, with the masks of what counts in them, or None where all counts."""

    fixed: Volume
    moving: Volume
    fixed_mask: Mask | None = None
    moving_mask: Mask | None = None

    def at(self, spacing_mm: float) -> Pair:
        """Return both images on isotropic grids of this spacing, smoothed to it, with masks on these grids."""
        fixed = isotropic(self.fixed, self.fixed_mask, spacing_mm)
        moving = isotropic(self.moving, self.moving_mask, spacing_mm)
        return Pair(fixed, moving, _on(self.fixed_mask, fixed.geometry), _on(self.moving_mask, moving.geometry))


def isotropic(volume: Volume, mask: Mask | None, spacing_mm: float) -> Volume:
    """Return what is bright or masked in an image, with a margin, on an isotropic grid of this spacing.

    The image is smoothed along the axes whose spacing is finer. An image that has this spacing is cropped alone.
    """
    from scipy.ndimage import gaussian_filter

    box = _box(volume, mask)
    geometry = volume.geometry.cropped(box)
    voxels = volume.voxels[tuple(slice(*side) for side in box)]
    spacing = np.array(geometry.spacing_mm)
    if np.allclose(spacing, spacing_mm, rtol=SAME_SPACING):
        return Volume(voxels, geometry, volume.name)
    sigma = FWHM * np.sqrt(np.maximum(spacing_mm**2 - spacing**2, 0)) / spacing
    smooth = Volume(gaussian_filter(voxels, sigma, mode="nearest", truncate=3.0), geometry, volume.name)
    return resample_through(smooth, Rigid.identity(), _isotropic_grid(geometry, spacing_mm), Interpolation.LINEAR)


def centre_mm(volume: Volume, mask: Mask | None) -> Points:
    """Return the world coordinates (3,) of the centre of the mask, or of the brightness above the mean, mm."""
    weights = _weights(volume, mask)
    total = float(weights.sum(dtype=np.float64))
    sums = (weights.sum(axis=others, dtype=np.float64) for others in ((1, 2), (0, 2), (0, 1)))
    index = [float(each @ np.arange(len(each))) / total for each in sums]
    return np.asarray((volume.geometry.affine @ [*index, 1.0])[:3])


def _weights(volume: Volume, mask: Mask | None) -> FloatArray:
    if mask is not None and mask.labels.any():
        return np.asarray(mask.labels > 0, dtype=np.float32)
    return np.asarray(np.maximum(volume.voxels - float(volume.voxels.mean(dtype=np.float64)), 0))


def _box(volume: Volume, mask: Mask | None) -> Box:
    """Return the box of voxels around the mask, or around the brightness, with a margin, within the image."""
    weights = _weights(volume, mask)
    margins = np.ceil(MARGIN_MM / np.array(volume.geometry.spacing_mm)).astype(int)
    sides = []
    for axis, margin in enumerate(margins):
        shares = np.cumsum(weights.sum(axis=tuple({0, 1, 2} - {axis}), dtype=np.float64))
        low, high = np.searchsorted(shares / shares[-1], [BORDER_SHARE, 1 - BORDER_SHARE])
        sides.append((max(int(low - margin), 0), min(int(high + margin) + 1, weights.shape[axis])))
    return (sides[0], sides[1], sides[2])


def _isotropic_grid(geometry: Geometry, spacing_mm: float) -> Geometry:
    """Return the isotropic grid with the directions and the centre of another grid that covers at least its field."""
    spacing = np.array(geometry.spacing_mm)
    shape = np.maximum(np.ceil(np.array(geometry.extent_mm) / spacing_mm), 1).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = geometry.affine[:3, :3] / spacing * spacing_mm
    middle = geometry.affine @ [*((np.array(geometry.shape) - 1) / 2), 1.0]
    affine[:3, 3] = middle[:3] - affine[:3, :3] @ ((shape - 1) / 2)
    return Geometry((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def _on(mask: Mask | None, grid: Geometry) -> Mask | None:
    if mask is None:
        return None
    inside = Mask(np.asarray(mask.labels > 0, dtype=np.uint8), mask.geometry)
    return resample_through(inside, Rigid.identity(), grid, Interpolation.NEAREST)
