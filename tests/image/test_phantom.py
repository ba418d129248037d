"""The phantom is the same head everywhere, and no patient."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from brain_edge.image.phantom import HEAD, Phantom, make_study, make_volume

SMALL = Phantom(shape=(24, 28, 26), spacing_mm=8.0)


def sha256(array: np.ndarray) -> str:
    """Of the voxels, float32, little-endian, C order."""
    return hashlib.sha256(np.ascontiguousarray(array, dtype="<f4").tobytes()).hexdigest()


class TestVoxels:
    @pytest.mark.parametrize(
        ("contrast", "expected"),
        [
            (1.0, "e3399487c83ee1c1e1b1ac1cb4a8f7d73fc9d9f9b9431829ca14cd56bf8aff3a"),
            (1.25, "96695736b557713c31ae751bcedffc55cc5a6e0fa59c4b62492683fdd15049e9"),
        ],
    )
    def test_are_these_on_every_machine(self, contrast, expected):
        """Packages ship the mask of the phantom: other voxels here would make `verify` mean nothing."""
        assert sha256(make_volume(SMALL, contrast).voxels) == expected

    def test_noise_is_numpys_uniform_of_today(self):
        """The raw stream is what numpy promises; its own conversion to floats is the same recipe."""
        noise = np.random.Generator(np.random.PCG64(SMALL.seed)).random(SMALL.shape)
        air = make_volume(SMALL).voxels[0]
        np.testing.assert_array_equal(air, (1000 * np.clip(0.06 * (noise[0] - 0.5), 0, None)).astype(np.float32))

    def test_another_seed_is_another_noise_on_the_same_head(self):
        first, second = make_volume(SMALL).voxels, make_volume(msgspec.structs.replace(SMALL, seed=1)).voxels
        assert 0 < np.abs(first - second).max() <= 60.001

    def test_tissues_have_their_intensities(self):
        volume = make_volume(Phantom())
        to_voxel = np.linalg.inv(volume.geometry.affine)
        tissues = {(0, 60, 40): 550, (26, 2, 4): 800, (9, 2, 8): 200, (0, 0, 90): 850, (0, 0, -95): 500}
        for place, value in tissues.items():
            i, j, k = np.round((to_voxel @ (*place, 1))[:3]).astype(int)
            assert volume.voxels[i, j, k] == pytest.approx(value, abs=31)

    def test_are_all_finite_and_not_negative(self):
        voxels = make_volume(SMALL).voxels
        assert voxels.dtype == np.float32
        assert voxels.min() == 0
        assert 800 < voxels.max() < 1000


class TestPlace:
    def test_is_in_the_middle_of_the_world_and_ras(self):
        geometry = make_volume(SMALL).geometry
        assert geometry.orientation == "RAS"
        np.testing.assert_allclose(geometry.corners_mm().mean(axis=0), 0, atol=1e-9)
        assert geometry.spacing_mm == (8.0, 8.0, 8.0)

    def test_holds_the_whole_head(self):
        extent = make_volume(Phantom()).geometry.extent_mm
        (_, half_axes, _) = HEAD[0]
        assert all(size > 2 * half for size, half in zip(extent, half_axes, strict=True))

    def test_left_is_not_right_for_nobody_is_symmetric(self):
        """The noise breaks the symmetry of the ellipsoids."""
        voxels = make_volume(SMALL).voxels
        assert (voxels != voxels[::-1]).any()


class TestStudy:
    def test_has_the_sequences_in_order_and_the_first_is_the_reference(self):
        study = make_study(SMALL, ["T1", "T2", "FLAIR"])
        assert list(study.volumes) == ["T1", "T2", "FLAIR"]
        assert study.reference == "T1"
        for first, second in pairwise(study.volumes.values()):
            assert np.abs(first.voxels - second.voxels).max() > 50


class TestParameters:
    @pytest.mark.parametrize(
        "text",
        [
            b'{"generator":2}',
            b'{"shape":[100000,100000,100000]}',
            b'{"shape":[0,4,4]}',
            b'{"spacing_mm":0}',
            b'{"seed":-1}',
            b'{"patient":"Doe"}',
        ],
    )
    def test_of_another_algorithm_or_out_of_range_are_refused(self, text):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(text, type=Phantom)
