"""An atlas is recognised by its grid and content, and another one is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from brain_edge.errors import InputError
from brain_edge.image.geometry import Geometry
from brain_edge.image.volume import Volume
from brain_edge.io.nifti import read_volume, write_image
from brain_edge.preparation.transforms import atlas_of_file, read_atlas
from brain_edge.registration.atlas import (
    ATLASES,
    MNI152,
    SRI24,
    SRI24_AS_PUBLISHED,
    SRI24_AS_RAS,
    in_challenge_order,
    recognised,
    require_atlas,
)
from brain_edge_conversion.recipes._tumour import brats_preparation


def ball(grid, centre):
    """An image of a ball of 60 mm at a place in the world."""
    axes = np.ogrid[tuple(slice(side) for side in grid.shape)]
    lines = zip(np.diag(grid.affine), grid.affine[:3, 3], axes, centre, strict=False)
    squared = sum((first + step * index - middle) ** 2 for step, first, index, middle in lines)
    return Volume(np.asarray(squared < 60**2, dtype=np.float32), grid, "atlas.nii.gz")


@pytest.mark.parametrize("atlas", ATLASES, ids=lambda atlas: atlas.name)
def test_an_atlas_is_recognised(atlas):
    assert recognised(ball(atlas.grid, atlas.centre)) is atlas


def test_the_other_file_of_sri24_is_named():
    with pytest.raises(InputError, match=r"SRI24 in LPS \(origin 0, 239, 0 mm\), got SRI24 in RAS"):
        recognised(ball(SRI24_AS_RAS, SRI24.centre))


def test_sri24_of_its_own_site_is_put_in_the_order_of_the_challenges():
    published = ball(SRI24_AS_PUBLISHED, SRI24.centre)
    turned = in_challenge_order(published)
    assert recognised(turned) is SRI24
    assert np.array_equal(turned.voxels, ball(SRI24.grid, SRI24.centre).voxels)
    other = ball(MNI152.grid, MNI152.centre)
    assert in_challenge_order(other) is other


def test_sri24_of_its_own_site_is_taken_as_the_atlas(tmp_path):
    write_image(ball(SRI24_AS_PUBLISHED, SRI24.centre), tmp_path / "spgr.nii")
    assert atlas_of_file(tmp_path / "spgr.nii").space == "SRI24"
    assert read_atlas(brats_preparation(), tmp_path / "spgr.nii").geometry.same_grid(SRI24.grid)


def test_a_head_at_another_place_of_the_grid_is_refused():
    """As of a file whose voxels are turned front to back."""
    turned = (SRI24.centre[0], 239 - SRI24.centre[1], SRI24.centre[2])
    with pytest.raises(InputError, match="expected the head of SRI24 on its grid, got an image centred 31 mm away"):
        require_atlas(ball(SRI24.grid, turned), SRI24)


def test_another_grid_is_refused():
    with pytest.raises(InputError, match="expected MNI152 with 182 x 218 x 182 voxels of 1 x 1 x 1 mm, LAS"):
        require_atlas(ball(SRI24.grid, SRI24.centre), MNI152)


def test_an_unknown_image_is_refused_with_the_names_of_all():
    grid = Geometry((60, 60, 60), np.diag([3.0, 3, 3, 1]))
    with pytest.raises(InputError, match=r"MNI152 with .*, or SRI24 with .*; got 60 x 60 x 60 voxels"):
        recognised(ball(grid, (90, 90, 90)))


@pytest.mark.data
def test_the_space_of_a_published_study_is_that_of_sri24(mri):
    image = read_volume(mri("tcga_fg_6692/skull_stripped/OtherEXampleFromTCIA_t1c_bet.nii.gz"))
    assert recognised(image) is SRI24
