"""From a patient's images to channels on one grid: in the model's order, at the right place, or refused."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name that its own documentation uses
from hypothesis import given
from hypothesis import strategies as st
from phantoms import OBLIQUE, ORIENTATIONS, SHAPE, make_affine, make_head, make_volume, to_sitk
from strategies import geometries, rotation, voxels
from tiny_package import SPEC

from brain_edge.engine.assembly import assemble, resample_onto
from brain_edge.errors import GeometryError, InputError
from brain_edge.image.geometry import Geometry, axis_moves
from brain_edge.image.volume import Mask, Study, Volume
from brain_edge.spec import Sequence
from brain_edge.spec.steps.moves import reorder

T1, T2 = Sequence(name="T1"), Sequence(name="T2")
STAGE = SPEC.stages[0]
TWO = msgspec.structs.replace(
    SPEC,
    inputs=(T1, T2),
    stages=(msgspec.structs.replace(STAGE, network=msgspec.structs.replace(STAGE.network, channels_in=2)),),
)
"""A model of two sequences."""


def ramp(geometry: Geometry, name: str = "ramp") -> Volume:
    """An image that is a linear function of the place in the world: exact under linear interpolation."""
    places = np.stack(np.meshgrid(*(np.arange(side) for side in geometry.shape), [1.0], indexing="ij"), axis=-1)
    world = (places[..., 0, :] @ geometry.affine.T)[..., :3]
    return Volume((world @ (1.0, -2.0, 0.5) + 500).astype(np.float32), geometry, name)


class TestResampleOnto:
    @given(geometries(least=2), geometries(least=2), st.integers(0, 99))
    def test_is_itks_linear_resampling(self, source, target, seed):
        """ITK's image is where a voxel's cell is, up to its edge, and zero beyond."""
        array = voxels(source.shape, seed)
        theirs = sitk.Resample(to_sitk(array, source), to_sitk(np.zeros(target.shape, np.uint8), target))
        expected = sitk.GetArrayFromImage(theirs).T
        ours = resample_onto(Volume(array, source), target)
        assert ours.dtype == np.float32
        on_the_edge = (ours == 0) != (expected == 0)
        assert on_the_edge.mean() <= 0.1, "a centre on the very edge may be inside or not"
        np.testing.assert_allclose(ours[~on_the_edge], expected[~on_the_edge], atol=0.05)

    def test_is_exact_for_a_linear_image_on_a_tilted_grid(self):
        source = ramp(Geometry((30, 30, 30), make_affine("RAS", (1.0, 1.0, 1.0))))
        tilted = np.eye(4)
        tilted[:3, :3] = rotation((1, 2, 3), 0.3) * 0.7
        tilted[:3, 3] = source.geometry.affine[:3, 3] + 11
        target = Geometry((8, 9, 10), tilted)
        np.testing.assert_allclose(resample_onto(source, target), ramp(target).voxels, rtol=1e-5)

    def test_a_grid_that_is_off_by_rounding_loses_no_plane(self):
        """Scipy takes -1e-9 for outside and gives zero for the whole first plane."""
        volume = make_volume(make_affine("RAS", (1.0, 1.0, 1.0)))
        bright = Volume(volume.voxels + 100, volume.geometry)
        affine = volume.geometry.affine - 1e-9 * np.eye(4, k=3)
        np.testing.assert_allclose(resample_onto(bright, Geometry(SHAPE, affine)), bright.voxels, rtol=1e-6)

    def test_the_outer_half_of_the_outermost_voxels_is_not_empty(self):
        volume = make_volume(make_affine("RAS", (2.0, 2.0, 6.0)))
        bright = Volume(volume.voxels + 100, volume.geometry)
        finer = volume.geometry.resized([3 * side for side in SHAPE])
        assert resample_onto(bright, finer).min() >= 100
        i, j, k = ((-1, side + 1) for side in finer.shape)
        wider = finer.cropped((i, j, k))
        resampled = resample_onto(bright, wider)
        assert np.count_nonzero(resampled) == np.prod(finer.shape)

    def test_one_image_stored_in_any_order_gives_the_same(self):
        volume = make_volume(OBLIQUE)
        target = Geometry((9, 8, 7), OBLIQUE).resized((12, 13, 9))
        expected = resample_onto(volume, target)
        for orientation in ORIENTATIONS:
            moves = axis_moves(volume.geometry.orientation, orientation)
            stored = Volume(reorder(volume.voxels[np.newaxis], moves)[0], volume.geometry.reoriented(moves))
            np.testing.assert_allclose(resample_onto(stored, target), expected, atol=1e-3)


class TestAssemble:
    def test_channels_are_in_the_models_order_whatever_the_users(self):
        first, second = make_volume(), Volume(make_volume().voxels * 2, make_volume().geometry)
        for study in (Study.of(T1=first, T2=second), Study.of(T2=second, T1=first)):
            frame = assemble(study, TWO)
            np.testing.assert_array_equal(frame.voxels, [first.voxels, second.voxels])

    def test_the_reference_gives_the_grid_and_is_not_resampled(self):
        first = ramp(Geometry((20, 21, 22), make_affine("RAS", (1.0, 1.0, 1.0))))
        second = ramp(Geometry((10, 11, 8), make_affine("RAS", (2.0, 2.0, 3.0))))
        frame = assemble(Study.of(T1=first, T2=second), TWO)
        assert frame.geometry is first.geometry
        np.testing.assert_array_equal(frame.voxels[0], first.voxels)
        inside = (slice(1, 18), slice(1, 19), slice(1, 20))
        np.testing.assert_allclose(frame.voxels[1][inside], first.voxels[inside], rtol=1e-5)
        other = assemble(Study({"T1": first, "T2": second}, "T2"), TWO)
        assert other.geometry is second.geometry
        np.testing.assert_array_equal(other.voxels[1], second.voxels)

    def test_one_volume_stands_for_the_only_sequence_and_is_not_copied(self):
        volume = make_volume()
        frame = assemble(volume, SPEC)
        assert frame.voxels.shape == (1, *SHAPE)
        assert np.shares_memory(frame.voxels, volume.voxels)

    def test_the_same_grid_within_float32_is_not_resampled(self):
        first = make_volume(OBLIQUE)
        second = Volume(first.voxels, Geometry(SHAPE, OBLIQUE.astype(np.float32)))
        np.testing.assert_array_equal(assemble(Study.of(T1=first, T2=second), TWO).voxels[1], first.voxels)


class TestRefusals:
    def test_missing_sequence(self):
        sentence = (
            "the model tiny takes T1, T2, got T1; missing: T2, not wanted: none. "
            r"Name each input, for example T1=head\.nii\.gz"
        )
        with pytest.raises(InputError, match=sentence):
            assemble(Study.of(T1=make_volume()), TWO)
        with pytest.raises(InputError, match="missing: T2"):
            assemble(make_volume(), TWO)

    def test_a_sequence_that_the_model_does_not_know(self):
        with pytest.raises(InputError, match=r"takes T1, got T1, FLAIR; missing: none, not wanted: FLAIR"):
            assemble(Study.of(T1=make_volume(), FLAIR=make_volume()), SPEC)

    def test_fields_of_view_apart(self):
        elsewhere = make_affine() + 500 * np.eye(4, k=3)
        knee = Volume(make_head(dtype=np.float32), Geometry(SHAPE, elsewhere), "knee.nii")
        sentence = (
            r"knee\.nii covers 0% of the field of view of head, expected at least 50%; "
            "register the images first"
        )
        with pytest.raises(InputError, match=sentence):
            assemble(Study.of(T1=make_volume(), T2=knee), TWO)

    def test_a_reference_that_is_not_in_the_study(self):
        with pytest.raises(InputError, match="the study has no sequence 'T2'; it has T1"):
            Study({"T1": make_volume()}, "T2")


class TestVolume:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_refuses_what_is_not_finite(self, value):
        array = make_head(dtype=np.float32)
        array[3, 4, 5] = value
        with pytest.raises(InputError, match=r"head\.nii: expected finite intensities, got NaN or infinity"):
            Volume(array, Geometry(SHAPE, np.eye(4)), "head.nii")

    def test_refuses_one_value_everywhere(self):
        with pytest.raises(InputError, match=r"head\.nii: expected an image, got 7 in every voxel \(an empty volume\)"):
            Volume(np.full(SHAPE, 7, np.float32), Geometry(SHAPE, np.eye(4)), "head.nii")

    def test_refuses_another_shape_than_the_grids(self):
        with pytest.raises(
            GeometryError, match=r"expected voxels with the shape of the grid, \(4, 4, 4\), got \(14, 17, 11\)"
        ):
            Volume(make_head(dtype=np.float32), Geometry((4, 4, 4), np.eye(4)))

    @pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float64, ">f4"])
    def test_is_float32_whatever_it_is_made_of(self, dtype):
        volume = Volume(make_head().astype(dtype), Geometry(SHAPE, np.eye(4)))
        assert volume.voxels.dtype == np.float32
        assert volume.voxels.dtype.isnative
        np.testing.assert_array_equal(volume.voxels, make_head().astype(dtype))


class TestMask:
    def test_volume_is_counted_in_millilitres(self):
        labels = np.zeros(SHAPE, dtype=np.uint8)
        labels[:2, :5, :10] = 2
        mask = Mask(labels, Geometry(SHAPE, make_affine("PIR", (2.0, 2.5, 4.0))))
        assert mask.volume_ml(2) == pytest.approx(100 * 20 / 1000)
        assert mask.volume_ml(1) == 0

    def test_refuses_what_are_not_labels(self):
        geometry = Geometry(SHAPE, np.eye(4))
        with pytest.raises(InputError, match="expected labels as uint8, got float32; convert the labels first"):
            Mask(np.zeros(SHAPE, np.float32), geometry)
        with pytest.raises(GeometryError, match="expected labels with the shape of the grid"):
            Mask(np.zeros((1, 2, 3), np.uint8), geometry)
