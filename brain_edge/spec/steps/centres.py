"""Resampling between voxel centres instead of over the field of view, as MONAI does."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.errors import InputError
from brain_edge.image.geometry import Geometry
from brain_edge.image.resample import Interpolation
from brain_edge.spec.steps.grid import Spacing, require_spacing
from brain_edge.spec.steps.moves import Move
from brain_edge.spec.steps.step import GridStep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.image.geometry import Shape
    from brain_edge.spec.steps.frame import Array, Frame

SAME_SPACING_MM: Final = 1e-3
"""Largest distance in mm between a spacing and its target at which the spacing is kept (MONAI, `AFFINE_TOL`)."""
SHEAR_VOXELS: Final = 1e-2
"""Largest deviation of an image's axes from right angles, in voxels over the whole image."""


class ResampleBetweenCentres(GridStep, frozen=True):
    """Resample to a target spacing from the centre of the first voxel on: round((n - 1) * spacing / target) + 1 voxels.

    The interpolation is linear. The spacing equals the target exactly, so the field of view changes at both ends.
    Beyond the outermost centres, the values at those centres are used. An axis within a micrometre of its target is
    unchanged. An oblique image whose axes are slightly off right angles, by float32 rounding of its header, keeps its
    middle instead of its first centre (MONAI, `Spacing` with `mode` bilinear, `padding_mode` border and `scale_extent`
    false).

    Raises:
        InputError: the axes of the image are not at right angles, so it cannot be resampled axis by axis.
    """

    spacing_mm: tuple[Spacing, Spacing, Spacing]

    def __post_init__(self) -> None:
        require_spacing(self.spacing_mm)

    def apply(self, frame: Frame) -> Frame:
        """Resample every channel."""
        before, after = frame.geometry, self.grid_after(frame.geometry)
        mapping = np.linalg.solve(before.affine, after.affine)
        _require_right_angles(mapping, after.shape)
        if before.shape == after.shape and np.allclose(mapping, np.eye(4), atol=SAME_SPACING_MM):
            return frame
        voxels = resampled(frame.voxels, after.shape, mapping, Interpolation.LINEAR)
        return frame.moved(voxels, after, CentresResampled(before, after))

    def grid_after(self, before: Geometry) -> Geometry:
        """Return the grid of the spacing."""
        near = np.abs(np.array(before.spacing_mm) - self.spacing_mm) <= SAME_SPACING_MM
        return _between_centres(before, np.where(near, before.spacing_mm, self.spacing_mm))


@dataclass(frozen=True, eq=False)
class CentresResampled(Move):
    """Resampling to a spacing between centres."""

    after: Geometry

    def undo(self, voxels: Array, interpolation: Interpolation) -> Array:
        """Resample at the centres of the voxels before the move."""
        mapping = np.linalg.solve(self.after.affine, self.before.affine)
        return resampled(voxels, self.before.shape, mapping, interpolation)


def resampled(voxels: Array, shape: Shape, mapping: Array, interpolation: Interpolation) -> Array:
    """Resample (C, I, J, K) at the voxel centres of another grid with parallel axes: (C, *shape).

    Args:
        voxels: voxels (C, I, J, K); nearest keeps their type, linear returns float32.
        shape: sides of the other grid; beyond the outermost centres of `voxels`, the values at those centres are used.
        mapping: 4 x 4 matrix from voxels of the other grid to these voxels.
        interpolation: nearest or linear.
    """
    source = np.array(voxels.shape[1:])
    for axis, where in enumerate(_places(source, np.array(shape), mapping), start=1):
        voxels = _along(voxels, axis, np.clip(where, 0, source[axis - 1] - 1), interpolation)
    return voxels


def _places(source: Array, target: Array, mapping: Array) -> Iterator[Array]:
    """Yield the positions of the centres of `target` voxels among those of `source` voxels, along each axis.

    The arithmetic is torch's, with coordinates from -1 to 1 (`affine_grid`, `grid_sample`), because the last digit
    matters in two cases. From 1 mm to 2 mm, every other voxel lies between two others, and nearest takes one of them.
    A sample almost at the centre of a voxel of 0 gets 1e-16 of its neighbour or nothing. This decides whether a step
    that counts nonzero voxels includes it (MONAI, `NormalizeIntensity` with `nonzero`).
    """
    unit = _to_unit(source) @ mapping @ np.linalg.inv(_to_unit(target))
    for axis, side in enumerate(target):
        centres = _minus_one_to_one(int(side)) * (side - 1) / side * unit[axis, axis] + unit[axis, 3]
        yield ((centres + 1.0) * source[axis] - 1.0) / 2.0


def _minus_one_to_one(side: int) -> Array:
    """Return `torch.linspace(-1, 1, side)`: from both ends, each product and sum rounded once, like AVX2 kernels."""
    step = Fraction(2.0 / max(1, side - 1))
    half = side // 2
    return np.array(
        [float(step * i - 1) for i in range(half)] + [float(1 - step * i) for i in range(side - half)][::-1]
    )


def _to_unit(sides: Array) -> Array:
    """Return the 4 x 4 matrix from voxels to coordinates with -1 and 1 at the outer edges of the grid."""
    matrix = np.diag([*(2.0 / sides), 1.0])
    matrix[:3, 3] = 1.0 / sides - 1.0
    return matrix


def _along(voxels: Array, axis: int, where: Array, interpolation: Interpolation) -> Array:
    if interpolation is Interpolation.NEAREST:
        return np.take(voxels, np.rint(where).astype(np.intp), axis=axis)
    last = voxels.shape[axis] - 1
    low = np.minimum(where.astype(np.intp), max(0, last - 1))
    # a separate share for each side, because 1 minus the other share would round 1 - 1e-16 to 1
    first, second = (
        np.take(voxels, index, axis=axis).astype(np.float32, copy=False)
        * share.astype(np.float32).reshape(-1, *[1] * (voxels.ndim - 1 - axis))
        for index, share in ((low, low + 1 - where), (np.minimum(low + 1, last), where - low))
    )
    return np.asarray(first + second)


def _between_centres(before: Geometry, spacing_mm: Array) -> Geometry:
    """Return the grid of a spacing with the first centre of another grid; it ends as near as possible to the last one.

    The arithmetic is MONAI's (`zoom_affine`, `compute_shape_offset`): if a half is rounded, the last digit decides
    about a voxel. If float32 rounding in the header has moved the axes of an oblique image slightly off right angles,
    the grids share their middles instead.
    """
    scaled = before.affine[:3, :3]
    shear = np.linalg.cholesky(scaled.T @ scaled).T
    affine = np.eye(4)
    affine[:3, :3] = scaled @ np.linalg.inv(shear) @ np.diag(spacing_mm)
    sides = np.array(before.shape, dtype=np.float64)
    corners = np.asarray(np.meshgrid(*[(0.0, side - 1.0) for side in sides], indexing="ij")).reshape(3, -1)
    corners = np.concatenate([corners, np.ones_like(corners[:1])])
    reached = (np.linalg.solve(affine, before.affine) @ corners)[:3]
    wanted = np.round(np.ptp(reached, axis=1) + 1.0)
    affine[:3, 3] = before.affine[:3, 3]
    if not np.allclose((reached - reached[:, :1]).min(axis=1), 0.0):
        middles = before.affine[:3, :3] @ (sides / 2.0), affine[:3, :3] @ (wanted / 2.0)
        affine[:3, 3] = middles[0] + before.affine[:3, 3] - middles[1]
    i, j, k = (int(side) for side in wanted)
    return Geometry((i, j, k), affine)


def _require_right_angles(mapping: Array, shape: Shape) -> None:
    """Make sure that a mapping from one grid to another does not mix their axes."""
    away = np.abs(mapping[:3, :3] - np.diag(mapping.diagonal()[:3])) @ np.array(shape)
    if away.max() > SHEAR_VOXELS:
        raise InputError(
            f"expected an image with axes at right angles, got a shear of {away.max():.2g} voxels over its extent "
            "(tilted gantry, or affine registration in the header). "
            "Resample the image onto a grid with right angles first"
        )
