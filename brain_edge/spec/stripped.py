"""Check that an image shows a head with its skull where the model expects one, and without it where not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.spec.model import Task
from brain_edge.spec.plausibility import Flag, FlagKind, distinct

if TYPE_CHECKING:
    from brain_edge.image.volume import Study, Volume
    from brain_edge.spec.model import ModelSpec

LARGEST_BRAIN_ML: Final = 2000.0
"""Volume of the content of a stripped head at most. Stripped heads at hand have 1050 to 1500 ml."""
LEAST_HEAD_ML: Final = 2200.0
"""Volume of the content of a head with its skull at least. Clinical heads with a background of 0 have 2400 to 3200 ml;
an infant's head with such a background is taken for a stripped one."""


def check_stripped(study: Study, spec: ModelSpec) -> tuple[Flag, ...]:
    """Return the flag of a stripped head for a skull-stripper, or of a whole head for a model of stripped heads.

    A model of stripped heads computes statistics over voxels that are not 0. An image with noise around the head has
    no single value of background, so all of it counts as content.
    """
    name = study.reference
    volume_ml = content_ml(study.volumes[name])
    if spec.task is Task.SKULL_STRIPPING and volume_ml <= LARGEST_BRAIN_ML:
        words = f"{name} looks already skull-stripped: {volume_ml:.0f} ml differ from the background"
        whole_ml = study.geometry.voxel_volume_ml * study.volumes[name].voxels.size
        return (Flag(FlagKind.STRIPPED, words, volume_ml, LARGEST_BRAIN_ML, whole_ml),)
    if spec.takes_stripped and volume_ml >= LEAST_HEAD_ML:
        words = (
            f"{name} looks like a head with its skull: {volume_ml:.0f} ml differ from the background, and "
            f"{spec.name} expects 0 outside of the brain"
        )
        return (Flag(FlagKind.STRIPPED, words, volume_ml, 0.0, LEAST_HEAD_ML),)
    return ()


def content_ml(volume: Volume) -> float:
    """Return the volume of all voxels that do not have the most common value, estimated on a lattice."""
    _, counts = distinct(volume)
    share = 1.0 - counts.max() / counts.sum()
    return float(share * volume.voxels.size * volume.geometry.voxel_volume_ml)
