"""Where voxels are in the world: every statement is nibabel's or SimpleITK's too."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name that its own documentation uses
from hypothesis import given
from hypothesis import strategies as st
from nibabel.affines import voxel_sizes
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from phantoms import OBLIQUE, ORIENTATIONS, SHAPE, make_affine, to_sitk
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation
from strategies import geometries, shapes, voxels

from brain_edge.errors import GeometryError
from brain_edge.image.geometry import Geometry, axis_moves, inverse_moves, is_orientation, overlap_share, require_head
from brain_edge.image.resample import Interpolation, resize
from brain_edge.spec.steps.moves import reorder

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def affine_of_sitk(image: sitk.Image) -> np.ndarray:
    """The RAS+ affine of a SimpleITK image."""
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = RAS_TO_LPS @ direction * np.array(image.GetSpacing())
    affine[:3, 3] = RAS_TO_LPS @ np.array(image.GetOrigin())
    return affine


class TestOrientation:
    def test_there_are_48(self):
        codes = ["".join(letters) for letters in itertools.product("RLAPSIX", repeat=3)]
        assert [code for code in codes if is_orientation(code)] == [c for c in codes if c in set(ORIENTATIONS)]
        assert len(ORIENTATIONS) == 48

    @pytest.mark.parametrize("code", ["", "RA", "RASS", "RLS", "ras", "RAX", "AAA"])
    def test_other_words_are_none(self, code):
        assert not is_orientation(code)

    @pytest.mark.parametrize("code", ORIENTATIONS)
    def test_straight_affine_is_named_as_nibabel_does(self, code):
        affine = make_affine(code)
        assert Geometry(SHAPE, affine).orientation == code == "".join(nib.aff2axcodes(affine))

    @given(geometries())
    def test_oblique_affine_is_named_as_nibabel_does(self, geometry):
        assert geometry.orientation == "".join(nib.aff2axcodes(geometry.affine))

    def test_sheared_affine_is_named_as_nibabel_does(self):
        assert Geometry(SHAPE, OBLIQUE).orientation == "".join(nib.aff2axcodes(OBLIQUE)) == "LAS"

    def test_two_axes_never_get_the_same_letter(self):
        """At 45 degrees, where the greatest cosine of two axes is on the same world axis."""
        affine = np.eye(4)
        affine[:3, :3] = [[1.0, 0.8, 0.0], [0.1, 0.6, 0.0], [0.0, 0.0, 1.0]]
        assert Geometry(SHAPE, affine).orientation == "RAS"

    def test_of_any_rotation_is_the_assignment_of_the_greatest_squares(self):
        """Sums of cosines instead of their squares decide otherwise for four rotations in a thousand."""
        for matrix in Rotation.random(1000, rng=7).as_matrix():
            affine = np.eye(4)
            affine[:3, :3] = matrix
            worlds, axes = linear_sum_assignment(matrix**2, maximize=True)
            letters = {
                axis: "LPI"[world] if matrix[world, axis] < 0 else "RAS"[world]
                for world, axis in zip(worlds.tolist(), axes.tolist(), strict=True)
            }
            assert Geometry(SHAPE, affine).orientation == "".join(letters[axis] for axis in range(3))


class TestMoves:
    @pytest.mark.parametrize("target", ORIENTATIONS)
    def test_are_nibabels_orientation_transform(self, target):
        for source in ORIENTATIONS:
            ours = axis_moves(source, target)
            theirs = ornt_transform(axcodes2ornt(source), axcodes2ornt(target))
            # nibabel lists for each old axis its new place, we for each new axis the old one
            flipped = {int(new): (old, flip < 0) for old, (new, flip) in enumerate(theirs)}
            assert ours == tuple(flipped[new] for new in range(3))

    @given(geometries(), st.sampled_from(ORIENTATIONS), st.integers(0, 99))
    def test_voxels_and_affine_move_together_as_in_nibabel(self, geometry, target, seed):
        array = voxels(geometry.shape, seed)
        moves = axis_moves(geometry.orientation, target)
        image = nib.Nifti1Image(array, geometry.affine)
        theirs = image.as_reoriented(ornt_transform(nib.io_orientation(geometry.affine), axcodes2ornt(target)))
        moved = geometry.reoriented(moves)
        np.testing.assert_array_equal(reorder(array[np.newaxis], moves)[0], theirs.get_fdata(dtype=np.float32))
        np.testing.assert_allclose(moved.affine, theirs.affine, atol=1e-9)
        assert moved.orientation == target

    @given(geometries(), st.sampled_from(ORIENTATIONS))
    def test_inverse_moves_lead_back_exactly(self, geometry, target):
        moves = axis_moves(geometry.orientation, target)
        back = geometry.reoriented(moves).reoriented(inverse_moves(moves))
        assert back.shape == geometry.shape
        np.testing.assert_allclose(back.affine, geometry.affine, atol=1e-9)
        assert back.same_grid(geometry)

    def test_inverse_is_nibabels_inverse_affine(self):
        geometry = Geometry(SHAPE, OBLIQUE)
        transform = ornt_transform(nib.io_orientation(OBLIQUE), axcodes2ornt("SPL"))
        theirs = OBLIQUE @ inv_ornt_aff(transform, SHAPE)
        np.testing.assert_allclose(geometry.reoriented(axis_moves("LAS", "SPL")).affine, theirs, atol=1e-9)

    @pytest.mark.parametrize(("source", "target"), [("RAS", "XYZ"), ("RAR", "RAS"), ("RAS", "SP")])
    def test_unknown_orientation_is_refused(self, source, target):
        with pytest.raises(GeometryError, match=r"expected an orientation of three letters such as RAS or SPL, got"):
            axis_moves(source, target)


class TestBoxes:
    @given(geometries(least=4), st.data())
    def test_cropped_grid_is_nibabels_slicer(self, geometry, data):
        box = tuple(
            tuple(sorted(data.draw(st.lists(st.integers(0, side), min_size=2, max_size=2, unique=True))))
            for side in geometry.shape
        )
        image = nib.Nifti1Image(np.zeros(geometry.shape, np.uint8), geometry.affine)
        theirs = image.slicer[tuple(slice(*span) for span in box)]
        ours = geometry.cropped(box)
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-9)

    @given(geometries(), st.tuples(*[st.integers(0, 5)] * 6))
    def test_box_that_reaches_outside_is_itks_padding(self, geometry, pads):
        image = sitk.ConstantPad(to_sitk(np.zeros(geometry.shape, np.uint8), geometry), pads[:3], pads[3:], 0)
        box = tuple((-pads[k], geometry.shape[k] + pads[3 + k]) for k in range(3))
        np.testing.assert_allclose(geometry.cropped(box).affine, affine_of_sitk(image), atol=1e-8)
        assert geometry.cropped(box).shape == image.GetSize()

    @given(geometries(), st.tuples(*[st.integers(-4, 3)] * 3))
    def test_the_same_voxel_stays_at_the_same_place(self, geometry, start):
        cropped = geometry.cropped(tuple((low, low + 5) for low in start))
        here = geometry.affine @ (*start, 1)
        np.testing.assert_allclose(cropped.affine @ (0, 0, 0, 1), here, atol=1e-9)

    def test_empty_box_is_refused(self):
        with pytest.raises(GeometryError, match="expected three sides of at least one voxel"):
            Geometry(SHAPE, np.eye(4)).cropped(((0, 4), (2, 2), (0, 4)))


class TestResized:
    @given(geometries(), shapes(1, 30))
    def test_keeps_the_field_of_view(self, geometry, shape):
        resized = geometry.resized(shape)
        np.testing.assert_allclose(resized.corners_mm(), geometry.corners_mm(), atol=1e-8)
        np.testing.assert_allclose(resized.extent_mm, geometry.extent_mm)

    @given(geometries(), shapes(1, 3))
    def test_whole_factor_is_itks_binning(self, geometry, factors):
        """BinShrink averages whole blocks, so its grid is the one with the same edges."""
        shape = tuple(side * factor for side, factor in zip(geometry.shape, factors, strict=True))
        fine = geometry.resized(shape)
        image = sitk.BinShrink(to_sitk(np.zeros(shape, np.float32), fine), factors)
        assert image.GetSize() == geometry.shape
        np.testing.assert_allclose(affine_of_sitk(image), geometry.affine, atol=1e-8)

    @given(geometries(least=2), shapes(1, 20), st.integers(0, 99))
    def test_voxels_resampled_onto_it_are_those_that_itk_samples_there(self, geometry, shape, seed):
        array = voxels(geometry.shape, seed)
        target = geometry.resized(shape)
        theirs = sitk.Resample(to_sitk(array, geometry), to_sitk(np.zeros(shape, np.uint8), target))
        ours = resize(array[np.newaxis], shape, Interpolation.LINEAR)[0]
        np.testing.assert_allclose(sitk.GetArrayFromImage(theirs).T, ours, atol=0.01)


class TestProperties:
    @given(geometries())
    def test_spacing_is_nibabels_voxel_sizes(self, geometry):
        np.testing.assert_allclose(geometry.spacing_mm, voxel_sizes(geometry.affine))

    @given(geometries())
    def test_volume_of_a_straight_voxel_is_the_product_of_its_sides(self, geometry):
        assert geometry.voxel_volume_ml == pytest.approx(np.prod(geometry.spacing_mm) / 1000)

    def test_volume_of_a_sheared_voxel_is_less(self):
        affine = np.eye(4)
        affine[0, 1] = 1.0
        assert Geometry(SHAPE, affine).voxel_volume_ml == pytest.approx(0.001)
        assert Geometry(SHAPE, affine).spacing_mm == pytest.approx((1, np.sqrt(2), 1))

    def test_corners_are_the_outer_edges(self):
        corners = Geometry((2, 3, 4), np.eye(4)).corners_mm()
        assert corners.min(axis=0).tolist() == [-0.5] * 3
        assert corners.max(axis=0).tolist() == [1.5, 2.5, 3.5]

    def test_is_not_changed_by_its_maker(self):
        affine = np.eye(4)
        geometry = Geometry(SHAPE, affine)
        affine[0, 0] = 7
        assert geometry.affine[0, 0] == 1
        with pytest.raises(ValueError, match="read-only"):
            geometry.affine[0, 0] = 7

    def test_float32_rounding_is_the_same_grid_and_a_tenth_of_a_voxel_is_not(self):
        geometry = Geometry((181, 217, 181), OBLIQUE)
        assert geometry.same_grid(Geometry(geometry.shape, OBLIQUE.astype(np.float32)))
        assert not geometry.same_grid(Geometry(geometry.shape, OBLIQUE + 0.1 * np.eye(4, k=3)))
        assert not geometry.same_grid(Geometry((181, 217, 180), OBLIQUE))

    def test_a_grid_that_begins_at_the_same_place_and_ends_elsewhere_is_another(self):
        """A thousandth of the spacing is nothing at the first voxel, and a fifth of a millimetre at the last."""
        wider = OBLIQUE @ np.diag([1.001, 1.0, 1.0, 1.0])
        assert not Geometry((181, 217, 181), OBLIQUE).same_grid(Geometry((181, 217, 181), wider))


class TestOverlap:
    def test_of_a_grid_with_itself_is_one_however_stored(self):
        geometry = Geometry(SHAPE, OBLIQUE)
        for target in ORIENTATIONS:
            assert overlap_share(geometry, geometry.reoriented(axis_moves("LAS", target))) == 1

    def test_of_grids_apart_is_zero(self):
        assert overlap_share(Geometry(SHAPE, np.eye(4)), Geometry(SHAPE, np.eye(4) + 50 * np.eye(4, k=3))) == 0

    def test_of_half_is_half(self):
        whole = Geometry((32, 32, 32), np.eye(4))
        assert overlap_share(whole, whole.cropped(((0, 16), (0, 32), (0, 32)))) == 0.5
        assert overlap_share(whole.cropped(((0, 16), (0, 32), (0, 32))), whole) == 1

    @given(geometries(least=3), geometries(least=3))
    def test_is_what_itk_finds_point_by_point(self, reference, other):
        image = to_sitk(np.zeros(other.shape, np.uint8), other)
        axes = [np.linspace(0, side - 1, num=min(side, 16)) for side in reference.shape]
        margins = []
        for voxel in itertools.product(*axes):
            point = RAS_TO_LPS @ (reference.affine @ (*voxel, 1))[:3]
            index = np.array(image.TransformPhysicalPointToContinuousIndex(point.tolist()))
            margins.append(min((index + 0.5).min(), (np.array(other.shape) - 0.5 - index).min()))
        # a centre on the very edge may count or not
        least, most = (np.mean(np.array(margins) >= slack) for slack in (1e-6, -1e-6))
        assert least <= overlap_share(reference, other) <= most


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({(0, 0): np.nan}, r"expected a finite 4 x 4 affine, got an affine with NaN, infinity"),
            ({(1, 3): np.inf}, r"expected a finite 4 x 4 affine, got an affine with NaN, infinity"),
            ({(1, 1): 0.0}, r"expected a positive spacing along each axis, got 1 x 0 x 1 mm"),
            ({(1, 1): 0.0, (0, 1): 1.0}, r"expected an invertible affine, got a singular affine"),
        ],
        ids=["nan", "infinity", "zero spacing", "singular"],
    )
    def test_an_affine_that_cannot_be_trusted(self, change, words):
        affine = np.eye(4)
        for place, value in change.items():
            affine[place] = value
        with pytest.raises(GeometryError, match=words):
            Geometry(SHAPE, affine)

    def test_nearly_singular_is_singular_however_fine_the_voxels(self):
        """The determinant of fine voxels is small; only the angle between the axes counts."""
        assert Geometry(SHAPE, np.diag([1e-3, 1e-3, 1e-3, 1.0])).voxel_volume_ml == pytest.approx(1e-12)
        affine = np.diag([100.0, 100.0, 100.0, 1.0])
        affine[:3, 1] = affine[:3, 0] + [0, 1e-3, 0]
        with pytest.raises(GeometryError, match="singular"):
            Geometry(SHAPE, affine)

    @pytest.mark.parametrize("affine", [np.eye(3), np.zeros(16)])
    def test_another_shape_of_affine(self, affine):
        with pytest.raises(GeometryError, match="or another shape"):
            Geometry(SHAPE, affine)

    @pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5, 6), (3, 0, 5), (3, -1, 5)])
    def test_another_number_of_sides_or_an_empty_one(self, shape):
        with pytest.raises(GeometryError, match=r"expected three sides of at least one voxel, got the shape \("):
            Geometry(shape, np.eye(4))


class TestAHead:
    @pytest.mark.parametrize("spacing", [(0.1, 0.1, 0.1), (20, 20, 20), (np.float32(0.1), 1, 6), (0.09999, 0.5, 5)])
    def test_can_have_any_spacing_from_a_tenth_of_a_millimetre_to_two_centimetres(self, spacing):
        grid = Geometry((10, 10, 10), np.diag([*spacing, 1]))
        assert require_head(grid) is grid

    @pytest.mark.parametrize("spacing", [(0.09, 1, 1), (1, 1, 20.1), (1e-9, 1e-9, 1e-9), (1, 1000, 1)])
    def test_has_no_other_spacing(self, spacing):
        with pytest.raises(GeometryError, match=r"expected a spacing of 0\.1 to 20 mm, got .* mm; correct the header"):
            require_head(Geometry((10, 10, 10), np.diag([*spacing, 1])))

    @pytest.mark.parametrize(("shape", "allowed"), [((1024, 1024, 1024), True), ((1024, 1024, 1025), False)])
    def test_has_at_most_two_to_the_thirty_voxels(self, shape, allowed):
        grid = Geometry(shape, np.eye(4))
        if allowed:
            assert require_head(grid) is grid
            return
        with pytest.raises(GeometryError, match=r"at most 1073741824 voxels, got 1024 x 1024 x 1025; resample the"):
            require_head(grid)
