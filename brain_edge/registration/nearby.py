"""Search for a better place near a transform, by small steps along each axis of movement."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from brain_edge.image.geometry import Affine
    from brain_edge.registration.rigid import Points, Rigid
    from brain_edge.registration.similarity import Sampler

RADIUS_MM: Final = 60.0
"""Distance from the centre of a brain at which a rotation is expressed in mm."""
STEPS_MM: Final = (6.0, 3.0, 1.5)
"""Steps of the search: from more than the movement that must be seen, to half of what counts as one."""
MOST_ROUNDS: Final = 6
"""Rounds over the six axes at one step: 36 mm, beyond which the start was wrong."""


def best_nearby(sampler: Sampler, matrix: Affine, steps_mm: tuple[float, ...] = STEPS_MM) -> tuple[float, Affine]:
    """Return the greatest similarity near a transform (4 x 4, may mirror), and the transform there."""
    centre = sampler.points.mean(axis=0)
    best, at = sampler.nmi(matrix), np.zeros(6)
    for step in steps_mm:
        for _ in range(MOST_ROUNDS):
            before = best
            for axis, sign in product(range(6), (1.0, -1.0)):
                tried = at.copy()
                tried[axis] += sign * step
                found = sampler.nmi(matrix @ movement(tried, centre))
                if found > best:
                    best, at = found, tried
            if best == before:
                break
    return best, matrix @ movement(at, centre)


def movement(axes_mm: Points, centre: Points) -> Affine:
    """Return the 4 x 4 matrix of three rotations (mm at `RADIUS_MM`) about `centre` (3,) and three translations, mm."""
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", axes_mm[:3] / RADIUS_MM).as_matrix()
    matrix[:3, 3] = axes_mm[3:] + centre - matrix[:3, :3] @ centre
    return matrix


def mirror(sampler: Sampler, transform: Rigid) -> Affine:
    """Return the 4 x 4 matrix that exchanges left and right of the moving world about the centre of the points."""
    matrix = np.diag([-1.0, 1.0, 1.0, 1.0])
    matrix[0, 3] = 2 * transform.moved(sampler.points.mean(axis=0, keepdims=True))[0, 0]
    return matrix


def brain_corners(points: Points) -> Points:
    """Return the eight corners (8, 3) of the box around 98 % of the points (N, 3), mm."""
    low, high = np.percentile(points, (1, 99), axis=0)
    return np.array(list(product(*zip(low, high, strict=True))))
