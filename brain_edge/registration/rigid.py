"""Rigid transforms of the world: from a point of the fixed image to the point of the moving image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from brain_edge.errors import GeometryError

if TYPE_CHECKING:
    from brain_edge.image.geometry import Affine

Points: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
"""World coordinates (N, 3) in mm, RAS+."""

ROTATION_TOLERANCE: Final = 1e-4
"""Largest deviation of a rotation from an orthogonal matrix: far above the rounding of a file with six digits, and
below 0.02 mm at the distance of a head's border."""


@dataclass(frozen=True, eq=False)
class Rigid:
    """A rotation and a translation.

    Attributes:
        matrix: 4 x 4 float64; maps a world point (x, y, z, 1) of the fixed image to the world of the moving image, mm,
            RAS+.

    Raises:
        GeometryError: the matrix is not 4 x 4, not finite, or scales, shears or mirrors.
    """

    matrix: Affine

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.array_equal(matrix[3], (0, 0, 0, 1)):
            raise GeometryError("expected a finite 4 x 4 matrix with the last row 0 0 0 1 as a rigid transform")
        rotation = matrix[:3, :3]
        error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
        if error > ROTATION_TOLERANCE or np.linalg.det(rotation) < 0:
            raise GeometryError("expected a rotation and a translation, got a matrix that scales, shears or mirrors")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def identity(cls) -> Rigid:
        """Return the transform that moves nothing."""
        return cls(np.eye(4))

    def inverse(self) -> Rigid:
        """Return the transform from the moving to the fixed image."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.matrix[:3, :3].T
        matrix[:3, 3] = -self.matrix[:3, :3].T @ self.matrix[:3, 3]
        return Rigid(matrix)

    def after(self, first: Rigid) -> Rigid:
        """Return the transform that applies `first`, then this one.

        A sequence is registered to a reference and the reference to an atlas. `to_reference.after(to_atlas)` then maps
        a point of the atlas to the sequence.
        """
        return Rigid(self.matrix @ first.matrix)

    def moved(self, points: Points) -> Points:
        """Return points (N, 3) of the fixed world in the moving world, mm."""
        return np.asarray(points @ self.matrix[:3, :3].T + self.matrix[:3, 3])

    def displacement_mm(self, points: Points) -> Points:
        """Return the distance (N,) in mm by which the transform moves each point (N, 3)."""
        return np.asarray(np.linalg.norm(self.moved(points) - points, axis=1))

    @property
    def angle_deg(self) -> float:
        """Angle of the rotation about its axis, degrees (0 to 180)."""
        rotation = self.matrix[:3, :3]
        skew = np.array(
            [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
        )
        return float(np.degrees(np.arctan2(np.linalg.norm(skew), np.trace(rotation) - 1)))
