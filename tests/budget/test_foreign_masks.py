"""How far brain masks of other people overlap with one's own: what the limit for a foreign reference is about."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import affine_transform

from brain_edge.image.metrics import dice
from brain_edge_conversion.budget.budget import ENOUGH_OF_AN_ORGAN, ORGAN_ML

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MASKS = (
    "ms_longitudinal/patient01/study1_T1W_brainmask.nii.gz",
    "ms_longitudinal/patient01/study2_T1W_brainmask.nii.gz",
    "ms_longitudinal/patient04/study1_T1W_brainmask.nii.gz",
    "ms_longitudinal/patient09/study2_FLAIR_brainmask.nii.gz",
    "tcga_fg_6692/published_masks/hdbet_native_t1.nii.gz",
)
PERSON = slice(len("ms_longitudinal/"), len("ms_longitudinal/patient01"))


def overlap(own: nib.Nifti1Image, other: nib.Nifti1Image, to_other: np.ndarray) -> float:
    """Dice of two masks, the second one carried to the grid of the first."""
    mask = np.asarray(own.dataobj) > 0
    carried = affine_transform(
        (np.asarray(other.dataobj) > 0).astype(np.uint8), to_other[:3, :3], to_other[:3, 3], mask.shape, order=0
    )
    found = dice(mask, carried > 0)
    assert found is not None
    return found


@pytest.mark.full  # four seconds of real masks
@pytest.mark.data
def test_most_are_below_what_is_enough_of_a_brain(mri: Callable[[str], Path]):
    """With a network that has 0.97 of a brain right: fifteen of eighteen ways to take somebody else's mask."""
    images = {name: nib.as_closest_canonical(nib.load(mri(name))) for name in MASKS}
    world, laid_over = [], []
    for (name, own), (other_name, other) in combinations(images.items(), 2):
        if name[PERSON] == other_name[PERSON]:
            continue
        world.append(overlap(own, other, np.linalg.inv(other.affine) @ own.affine))
        scale = np.array(other.shape) / np.array(own.shape)
        laid_over.append(overlap(own, other, np.diag([*scale, 1.0])))
    assert len(world) == 9
    assert (round(min(world), 2), round(max(world), 2)) == (0.06, 0.83)
    assert (round(min(laid_over), 2), round(max(laid_over), 2)) == (0.69, 0.88)
    assert sum(each < ENOUGH_OF_AN_ORGAN * 0.97 for each in (*world, *laid_over)) == 15
    for image in images.values():
        voxel_ml = float(np.prod(image.header.get_zooms())) / 1000
        assert np.count_nonzero(np.asarray(image.dataobj)) * voxel_ml > 3 * ORGAN_ML
