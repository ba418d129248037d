"""Resampling of the centres of voxels, not of the field of view: MONAI's own."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.errors import InputError
from brain_edge.image.geometry import Geometry
from brain_edge.image.resample import Interpolation
from brain_edge.spec.steps.grid import Spacing
from brain_edge.spec.steps.moves import Move
from brain_edge.spec.steps.step import GridStep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.image.geometry import Shape
    from brain_edge.spec.steps.frame import Array, Frame

SAME_SPACING_MM: Final = 1e-3
"""A spacing that is no further from the target is kept (MONAI, `AFFINE_TOL`)."""
SHEAR_VOXELS: Final = 1e-2
"""How far the axes of an image may lead away from right angles, over the whole image."""


class ResampleBetweenCentres(GridStep, frozen=True):
    """Resample to a target spacing from the centre of the first voxel on: round((n - 1) * spacing / target) + 1 voxels.

    Linear. The spacing is the target to the digit, so the field of view is not what it was at either end; beyond the
    outermost centres their values hold. An axis within a micrometre of its target stays as it is. An oblique image
    keeps its middle instead of its first centre, where the float32 of its header has left its axes a hair's breadth
    from right angles (MONAI, `Spacing` with `mode` bilinear, `padding_mode` border and `scale_extent` false).

    Raises:
        InputError: the axes of the image are not at right angles, so that it is no resampling axis by axis.
    """

    spacing_mm: tuple[Spacing, Spacing, Spacing]

    def apply(self, frame: Frame) -> Frame:
        """Resample every channel."""
        before = frame.geometry
        near = np.abs(np.array(before.spacing_mm) - self.spacing_mm) <= SAME_SPACING_MM
        after = _between_centres(before, np.where(near, before.spacing_mm, self.spacing_mm))
        mapping = np.linalg.solve(before.affine, after.affine)
        _require_right_angles(mapping, after.shape)
        if before.shape == after.shape and np.allclose(mapping, np.eye(4), atol=SAME_SPACING_MM):
            return frame
        voxels = resampled(frame.voxels, after.shape, mapping, Interpolation.LINEAR)
        return frame.moved(voxels, after, CentresResampled(before, after))


@dataclass(frozen=True, eq=False)
class CentresResampled(Move):
    """Resampled to a spacing between centres."""

    after: Geometry

    def undo(self, voxels: Array, interpolation: Interpolation) -> Array:
        """Resample at the centres of the voxels that there were."""
        mapping = np.linalg.solve(self.after.affine, self.before.affine)
        return resampled(voxels, self.before.shape, mapping, interpolation)


def resampled(voxels: Array, shape: Shape, mapping: Array, interpolation: Interpolation) -> Array:
    """(C, I, J, K) at the centres of another grid of parallel axes: (C, *shape).

    Args:
        voxels: nearest keeps their type, linear gives float32.
        shape: of the other grid; beyond the outermost centres of the voxels their values hold.
        mapping: 4 x 4, from the voxels of the other grid to these.
        interpolation: nearest or linear.
    """
    source = np.array(voxels.shape[1:])
    for axis, where in enumerate(_places(source, np.array(shape), mapping), start=1):
        voxels = _along(voxels, axis, np.clip(where, 0, source[axis - 1] - 1), interpolation)
    return voxels


def _places(source: Array, target: Array, mapping: Array) -> Iterator[Array]:
    """Along each axis, where the centres of `target` voxels lie among those of `source` voxels.

    In the arithmetic of torch, by way of coordinates from -1 to 1 (`affine_grid`, `grid_sample`), because the last
    digit decides twice. At 2 mm every other voxel of 1 mm lies between two, of which nearest takes one. And a sample
    that all but meets the centre of a voxel of 0 gets 1e-16 of its neighbour or nothing, which is the difference
    between tissue and none to a step that counts what is not 0 (MONAI, `NormalizeIntensity` with `nonzero`).
    """
    unit = _to_unit(source) @ mapping @ np.linalg.inv(_to_unit(target))
    for axis, side in enumerate(target):
        centres = _minus_one_to_one(int(side)) * (side - 1) / side * unit[axis, axis] + unit[axis, 3]
        yield ((centres + 1.0) * source[axis] - 1.0) / 2.0


def _minus_one_to_one(side: int) -> Array:
    """`torch.linspace(-1, 1, side)`, from both ends, each product and sum rounded once: as its kernels for AVX2 do."""
    step = Fraction(2.0 / max(1, side - 1))
    half = side // 2
    return np.array(
        [float(step * i - 1) for i in range(half)] + [float(1 - step * i) for i in range(side - half)][::-1]
    )


def _to_unit(sides: Array) -> Array:
    """From voxels to coordinates of which -1 and 1 are the outer edges of the grid, 4 x 4."""
    matrix = np.diag([*(2.0 / sides), 1.0])
    matrix[:3, 3] = 1.0 / sides - 1.0
    return matrix


def _along(voxels: Array, axis: int, where: Array, interpolation: Interpolation) -> Array:
    if interpolation is Interpolation.NEAREST:
        return np.take(voxels, np.rint(where).astype(np.intp), axis=axis)
    last = voxels.shape[axis] - 1
    low = np.minimum(where.astype(np.intp), max(0, last - 1))
    # a share for each side, not one and what it leaves of 1: that would round 1 - 1e-16 to 1
    first, second = (
        np.take(voxels, index, axis=axis).astype(np.float32, copy=False)
        * share.astype(np.float32).reshape(-1, *[1] * (voxels.ndim - 1 - axis))
        for index, share in ((low, low + 1 - where), (np.minimum(low + 1, last), where - low))
    )
    return np.asarray(first + second)


def _between_centres(before: Geometry, spacing_mm: Array) -> Geometry:
    """The grid of a spacing with the first centre of another one, as many voxels as come nearest to its last centres.

    In MONAI's arithmetic (`zoom_affine`, `compute_shape_offset`): where a half is rounded, the last digit decides
    about a voxel. The grids have their middles in common instead where rounding has left the axes of an oblique image
    a hair's breadth from right angles, as the float32 of a NIfTI header does.
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
    """That a mapping from one grid to another does not mix their axes."""
    away = np.abs(mapping[:3, :3] - np.diag(mapping.diagonal()[:3])) @ np.array(shape)
    if away.max() > SHEAR_VOXELS:
        raise InputError(
            f"expected an image whose axes are at right angles, got one that is sheared by {away.max():.2g} voxels "
            "over its extent (a tilted gantry, or an affine registration written into the header); resample it onto a "
            "grid with right angles first"
        )
