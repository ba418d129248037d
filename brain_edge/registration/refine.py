"""Second opinion on a transform: where the brain alone fits best, and the middle between that place and the first one.

The scalp moves against the brain from sequence to sequence, because fat is shifted in one of them. The brain alone has
less contrast. Both places have errors of about half a millimetre on thick slices, and their middle has smaller ones
(docs/decisions/0042-registration.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.image.volume import Mask
from brain_edge.registration.nearby import best_nearby
from brain_edge.registration.rigid import Rigid
from brain_edge.registration.similarity import Sampler
from brain_edge.registration.through import resample_through

if TYPE_CHECKING:
    from brain_edge.image.volume import Volume
    from brain_edge.registration.rigid import Points

STEPS_MM: Final = (0.8, 0.4, 0.2, 0.1)
"""Steps of the search: from the error of the first place on thick slices to less than anybody can see."""
RIM_MM: Final = 6.0
"""Rim around the brain: its outline counts, and most of the scalp does not."""


def refined(moving: Volume, fixed: Volume, start: Rigid, brain: Mask) -> Rigid:
    """Return the transform half-way from `start` to the place where the brain with its rim fits best.

    Args:
        moving: image that was registered.
        fixed: image to which it was registered.
        start: map from the world of `fixed` to the world of `moving`, from the whole heads.
        brain: brain in `fixed`, on any grid in its world.
    """
    sampler = Sampler.inside(moving, fixed, _with_rim(brain, fixed), start)
    _, best = best_nearby(sampler, start.matrix, STEPS_MM)
    return _halfway(start, Rigid(best), sampler.points.mean(axis=0))


def _with_rim(brain: Mask, fixed: Volume) -> Mask:
    from scipy.ndimage import distance_transform_edt

    inside = resample_through(brain, Rigid.identity(), fixed.geometry)
    near = distance_transform_edt(inside.labels == 0, sampling=fixed.geometry.spacing_mm) <= RIM_MM
    return Mask(np.asarray(near, dtype=np.uint8), fixed.geometry)


def _halfway(start: Rigid, end: Rigid, centre: Points) -> Rigid:
    """Return the transform in the middle of the shortest way, about a point (3,) of the fixed world, mm."""
    from scipy.spatial.transform import Rotation

    way = np.linalg.inv(start.matrix) @ end.matrix
    half = np.eye(4)
    half[:3, :3] = Rotation.from_rotvec(Rotation.from_matrix(way[:3, :3]).as_rotvec() / 2).as_matrix()
    moved = way[:3, :3] @ centre + way[:3, 3]
    half[:3, 3] = (centre + moved) / 2 - half[:3, :3] @ centre
    return Rigid(start.matrix @ half)
