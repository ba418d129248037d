"""Position of the voxels of an image in the patient: shape, affine, orientation, and moves on the grid.

The library has one convention. Arrays are indexed (I, J, K). An affine maps voxel centres (i, j, k) to world
coordinates in mm, RAS+ (x to the patient's right, y anterior, z superior), as in NIfTI. Only `brain_edge.io`
converts from DICOM's LPS.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from brain_edge.errors import GeometryError

if TYPE_CHECKING:
    from collections.abc import Sequence

Affine: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float64]]
Shape: TypeAlias = tuple[int, int, int]
Vector: TypeAlias = tuple[float, float, float]
Box: TypeAlias = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Half-open voxel ranges (start, stop) along I, J, K."""

AXIS_PAIRS: Final = ("LR", "PA", "IS")
"""Letters of the negative and the positive direction of the world axes x, y, z (RAS+)."""

GRID_TOLERANCE_MM: Final = 1e-2
"""Largest distance in mm between corners of equal grids: far below a voxel, far above float32 rounding."""

SPACINGS_MM: Final = (0.1, 20.0)
"""Smallest and largest spacing of an image or a grid of a network; no image of a head has another."""
MOST_VOXELS: Final = 2**30
"""Largest number of voxels of an image or a grid of a network: 4 GiB of float32."""
ROUNDING: Final = 1e-3
"""Relative tolerance of a spacing, so that a float32 header of 0.09999 mm counts as 0.1 mm."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """A regular grid of voxels in the world.

    Attributes:
        shape: number of voxels along I, J, K, each at least 1.
        affine: 4 x 4 float64 matrix from voxel centres (i, j, k, 1) to world mm (RAS+); invertible and finite.

    Raises:
        GeometryError: the affine is not 4 x 4, not finite, singular, or has a zero spacing; or a side is empty.
    """

    shape: Shape
    affine: Affine

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise GeometryError(f"expected three sides of at least one voxel, got the shape {self.shape}")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError("expected a finite 4 x 4 affine, got an affine with NaN, infinity or another shape")
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if spacing.min() <= 0:
            sides = " x ".join(f"{side:.4g}" for side in spacing)
            raise GeometryError(f"expected a positive spacing along each axis, got {sides} mm")
        # the determinant of the direction cosines is the volume of the unit parallelepiped: 1 if orthogonal
        if abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
            raise GeometryError("expected an invertible affine, got a singular affine")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", tuple(int(side) for side in self.shape))
        object.__setattr__(self, "affine", affine)

    def __str__(self) -> str:
        """Return the grid as messages and listings name it: sides, spacing in mm, orientation."""
        sides = " x ".join(map(str, self.shape))
        return f"{sides} voxels of {' x '.join(f'{side:.4g}' for side in self.spacing_mm)} mm, {self.orientation}"

    @property
    def spacing_mm(self) -> Vector:
        """Distance between voxel centres along I, J, K in mm."""
        return _vector(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres, also on an oblique or sheared grid."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000.0)

    @property
    def orientation(self) -> str:
        """The anatomical directions in which I, J and K increase, as three letters of RLAPSI.

        The assignment maximises the sum of squared direction cosines over the six permutations. An oblique grid
        therefore never gets the same anatomical axis twice.
        """
        cosines = self.affine[:3, :3] / np.array(self.spacing_mm)
        best = max(itertools.permutations(range(3)), key=lambda p: sum(cosines[p[k], k] ** 2 for k in range(3)))
        return "".join(AXIS_PAIRS[world][int(cosines[world, k] > 0)] for k, world in enumerate(best))

    @property
    def extent_mm(self) -> Vector:
        """Length of the field of view along I, J, K in mm, from voxel edge to voxel edge."""
        return _vector(np.array(self.shape) * np.array(self.spacing_mm))

    def corners_mm(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """World coordinates (8, 3) in mm of the outer corners of the field of view (voxel edges)."""
        edges = [(-0.5, side - 0.5) for side in self.shape]
        voxels = np.array([(*corner, 1.0) for corner in itertools.product(*edges)])
        return np.asarray((voxels @ self.affine.T)[:, :3])

    def same_grid(self, other: Geometry) -> bool:
        """Return True if both shapes are equal and no corners are more than `GRID_TOLERANCE_MM` apart."""
        if self.shape != other.shape:
            return False
        return float(np.abs(self.corners_mm() - other.corners_mm()).max()) <= GRID_TOLERANCE_MM

    def reoriented(self, moves: AxisMoves) -> Geometry:
        """Return the grid after `moves`: the same voxels at the same world positions, stored in another order."""
        affine = np.eye(4)
        offset = np.zeros(3)
        for new_axis, (axis, flipped) in enumerate(moves):
            affine[:3, new_axis] = self.affine[:3, axis] * (-1 if flipped else 1)
            offset[axis] = self.shape[axis] - 1 if flipped else 0
        affine[:3, 3] = self.affine[:3, :3] @ offset + self.affine[:3, 3]
        return Geometry(_shape(self.shape[axis] for axis, _ in moves), affine)

    def cropped(self, box: Box) -> Geometry:
        """Return the grid of the voxels in `box`; a box that extends beyond the grid pads it."""
        start = np.array([low for low, _ in box], dtype=np.float64)
        affine = self.affine.copy()
        affine[:3, 3] += self.affine[:3, :3] @ start
        return Geometry(_shape(high - low for low, high in box), affine)

    def resized(self, shape: Sequence[int]) -> Geometry:
        """Return the grid of `shape` voxels over the same field of view: its edges coincide, voxel centres may not."""
        scale = np.array(self.shape, dtype=np.float64) / np.array(shape, dtype=np.float64)
        affine = self.affine.copy()
        affine[:3, :3] = self.affine[:3, :3] * scale
        affine[:3, 3] += self.affine[:3, :3] @ ((scale - 1.0) / 2.0)
        return Geometry(_shape(shape), affine)


def require_head(geometry: Geometry) -> Geometry:
    """Return the grid if an image of a head can have it.

    Raises:
        GeometryError: a spacing is outside of `SPACINGS_MM`, or the grid has more than `MOST_VOXELS` voxels.
    """
    (low, high), spacing = SPACINGS_MM, geometry.spacing_mm
    if min(spacing) < low * (1 - ROUNDING) or max(spacing) > high * (1 + ROUNDING):
        raise GeometryError(
            f"expected a spacing of {low:g} to {high:g} mm, got {' x '.join(f'{side:.4g}' for side in spacing)} mm; "
            "correct the header, or give an image of a head"
        )
    require_few_voxels(geometry.shape)
    return geometry


def require_few_voxels(shape: Sequence[int]) -> None:
    """Refuse sides of more than `MOST_VOXELS` voxels with a GeometryError."""
    if math.prod(shape) > MOST_VOXELS:
        raise GeometryError(
            f"expected at most {MOST_VOXELS} voxels, got {' x '.join(map(str, shape))}; resample the image to a "
            "coarser spacing"
        )


AxisMoves: TypeAlias = tuple[tuple[int, bool], tuple[int, bool], tuple[int, bool]]
"""The old axis and a flip flag for each new axis."""


def is_orientation(code: str) -> bool:
    """Return True for three letters of RLAPSI that name each anatomical axis once: 48 codes, such as RAS or SPL."""
    worlds = [next((w for w, pair in enumerate(AXIS_PAIRS) if letter in pair), None) for letter in code]
    return len(code) == 3 and None not in worlds and len(set(worlds)) == 3


def axis_moves(source: str, target: str) -> AxisMoves:
    """Return the axis moves from one orientation to another: the old axis and a flip flag for each new axis.

    >>> axis_moves("RAS", "SPL")
    ((2, False), (1, True), (0, True))
    """
    for code in (source, target):
        if not is_orientation(code):
            raise GeometryError(f"expected an orientation of three letters such as RAS or SPL, got {code!r}")
    axes = [next(axis for axis, pair in enumerate(AXIS_PAIRS) if letter in pair) for letter in target]
    places = [next(k for k, have in enumerate(source) if have in AXIS_PAIRS[axis]) for axis in axes]
    first, second, third = ((k, source[k] != letter) for k, letter in zip(places, target, strict=True))
    return (first, second, third)


def inverse_moves(moves: AxisMoves) -> AxisMoves:
    """Return the moves that undo `moves`."""
    undo = [(new, flipped) for _, new, flipped in sorted((old, new, flip) for new, (old, flip) in enumerate(moves))]
    return (undo[0], undo[1], undo[2])


def overlap_share(reference: Geometry, other: Geometry) -> float:
    """Return the share (0 to 1) of voxel centres of `reference`, on a lattice of at most 16^3, that lie in `other`."""
    axes = [np.linspace(0, side - 1, num=min(side, 16)) for side in reference.shape]
    voxels = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return share_inside(voxels, reference, other)


def share_inside(voxels: np.ndarray[Any, Any], reference: Geometry, other: Geometry) -> float:
    """Return the share (0 to 1) of voxels (N, 3) of `reference`, N >= 1, in `other`, up to its outer voxel edges."""
    matrix = np.linalg.inv(other.affine) @ reference.affine
    mapped = voxels @ matrix[:3, :3].T + matrix[:3, 3]
    inside = (mapped >= -0.5) & (mapped <= np.array(other.shape) - 0.5)
    return float(inside.all(axis=1).mean())


def _shape(sides: object) -> Shape:
    i, j, k = (int(side) for side in sides)  # type: ignore[attr-defined]
    return (i, j, k)


def _vector(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Vector:
    return (float(values[0]), float(values[1]), float(values[2]))
