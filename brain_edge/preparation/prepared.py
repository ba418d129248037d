"""A prepared study, and the way back from its grid to each image as it was scanned.

Transforms are combined before an image is interpolated, so that each image is interpolated once. Labels come back
through the inverse of the combined transform: a voxel gets the label with the greatest weight, and labels are never
blended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from brain_edge.errors import UsageError
from brain_edge.image.geometry import Geometry
from brain_edge.image.volume import Mask, Study, Volume
from brain_edge.spec.preparation import PREPARED_GRID
from brain_edge.spec.steps.regrid import onto

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brain_edge.image.volume import FloatArray
    from brain_edge.preparation.parts import Part
    from brain_edge.registration.rigid import Rigid
    from brain_edge.spec.plausibility import Flag


@dataclass(frozen=True, eq=False)
class Prepared:
    """A study as the network sees it, and how it came to be.

    Attributes:
        study: prepared images on one grid; the images as they were scanned where nothing was missing.
        scanned: images as they were scanned, by sequence.
        transforms: transform of each sequence, from the world of the prepared images to that of the image as it was
            scanned; empty where nothing moved.
        brain: brain mask on the prepared grid; None where no skull was removed.
        parts: parts of the preparation that were missing and are done.
        flags: doubtful findings.
        judgements: figures of each registration, by the name of the moving sequence.
        made_by: what made the study: name and version of the library, digest of stage 0, hash of the atlas.
        elapsed_ms: time of each part, ms; empty for a study that was kept from an earlier run.
        not_compared: reason why the brain of a sequence was not compared with that of the reference, by sequence.
    """

    study: Study
    scanned: Study
    transforms: Mapping[str, Rigid] = field(default_factory=dict)
    brain: Mask | None = None
    parts: tuple[Part, ...] = ()
    flags: tuple[Flag, ...] = ()
    judgements: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    made_by: Mapping[str, str] = field(default_factory=dict)
    elapsed_ms: Mapping[str, float] = field(default_factory=dict)
    not_compared: Mapping[str, str] = field(default_factory=dict)

    def volume_of(self, name: str) -> Volume:
        """Return the image whose grid a mask is to have.

        Args:
            name: name of a sequence for the image as it was scanned; `atlas` for the prepared reference.

        Raises:
            UsageError: the study has no such sequence.
        """
        if name == PREPARED_GRID:
            return self.study.volumes[self.study.reference]
        require_grid(self.scanned, name)
        return self.scanned.volumes[name]

    def mask_on(self, mask: Mask, name: str) -> Mask:
        """Return a mask of the prepared grid on the grid of a sequence; `atlas` leaves the mask as it is."""
        target = self.volume_of(name).geometry
        if name == PREPARED_GRID:
            return mask
        if name not in self.transforms:
            return Mask(onto(mask.labels[np.newaxis], mask.geometry, target, is_labels=True)[0], target)
        from brain_edge.registration.through import resample_through

        return resample_through(mask, self.transforms[name].inverse(), target)

    def numbers_on(self, numbers: FloatArray, name: str) -> FloatArray:
        """Return numbers (D, I, J, K) of the prepared grid on the grid of a sequence, interpolated linearly."""
        if name == PREPARED_GRID:
            return numbers
        grid = self.volume_of(name).geometry
        if name in self.transforms:
            # a rigid transform makes a regular grid of a regular grid
            grid = Geometry(grid.shape, np.asarray(self.transforms[name].inverse().matrix @ grid.affine))
        return np.ascontiguousarray(onto(numbers, self.study.geometry, grid, is_labels=False), dtype=np.float32)


def require_grid(study: Study, name: str) -> None:
    """Refuse the name of a grid that a mask cannot have.

    Raises:
        UsageError: the name is neither a sequence of the study nor `atlas`.
    """
    if name not in (*study.volumes, PREPARED_GRID):
        raise UsageError(
            f"expected --on as one of {', '.join(study.volumes)} or {PREPARED_GRID}, got {name!r}; name a sequence of "
            "this study"
        )


def within(volume: Volume, brain: Mask) -> Volume:
    """Return an image with 0 outside of a brain on the same grid."""
    return Volume(np.where(brain.labels > 0, volume.voxels, np.float32(0)), volume.geometry, volume.name)
