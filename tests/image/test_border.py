"""A border in millimetres: scipy's Euclidean distance between voxel centres, out or in."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantoms import OBLIQUE, make_affine, make_mask, make_volume
from scipy import ndimage
from scipy.spatial import cKDTree
from strategies import geometries

from brain_edge.errors import UsageError
from brain_edge.image.border import with_border
from brain_edge.image.geometry import Geometry
from brain_edge.image.volume import Mask


def ball(spacing_mm=(1.0, 1.25, 3.0), label=1) -> Mask:
    """A ball of 6 mm in the middle of a grid."""
    geometry = Geometry((30, 26, 14), make_affine("PIR", spacing_mm))
    axes = [(np.arange(side) - side // 2) * step for side, step in zip(geometry.shape, spacing_mm, strict=True)]
    places = np.meshgrid(*axes, indexing="ij")
    inside = sum(place**2 for place in places) <= 36
    return Mask((label * inside).astype(np.uint8), geometry)


class TestBorder:
    @given(geometries(least=4), st.integers(0, 99), st.floats(0.1, 8))
    def test_wider_is_every_centre_within_that_distance(self, geometry, seed, border_mm):
        """Judged by scipy's k-d tree in world coordinates, which knows nothing of grids."""
        labels = (np.random.default_rng(seed).random(geometry.shape) < 0.05).astype(np.uint8)
        labels[1, 1, 1] = 1
        wide = with_border(Mask(labels, geometry), border_mm).labels
        indices = np.argwhere(np.ones(geometry.shape, bool))
        world = indices @ geometry.affine[:3, :3].T
        distances, _ = cKDTree(world[labels.ravel() > 0]).query(world)
        clear = np.abs(distances - border_mm) > 1e-6
        np.testing.assert_array_equal(wide.ravel()[clear] > 0, (distances <= border_mm)[clear])

    @pytest.mark.parametrize("border_mm", [0.9, 1.0, 2.0, 3.3])
    def test_is_scipys_distance_transform(self, border_mm):
        mask = ball()
        outside = ndimage.distance_transform_edt(mask.labels == 0, sampling=mask.geometry.spacing_mm)
        np.testing.assert_array_equal(with_border(mask, border_mm).labels, outside <= border_mm)

    @pytest.mark.parametrize("border_mm", [0.9, 1.0, 2.0])
    def test_negative_takes_away_as_much_from_inside(self, border_mm):
        mask = ball()
        inside = ndimage.distance_transform_edt(mask.labels, sampling=mask.geometry.spacing_mm)
        np.testing.assert_array_equal(with_border(mask, -border_mm).labels, inside > border_mm)

    def test_is_in_millimetres_not_in_voxels(self):
        """3 mm are three voxels along the fine axis and one along the coarse one."""
        labels = np.zeros((15, 15, 15), dtype=np.uint8)
        labels[7, 7, 7] = 1
        wide = with_border(Mask(labels, Geometry(labels.shape, np.diag([1.0, 1.5, 3.0, 1.0]))), 3.0).labels
        assert [np.flatnonzero(wide.any(axis=axes)).tolist() for axes in ((1, 2), (0, 2), (0, 1))] == [
            [4, 5, 6, 7, 8, 9, 10],
            [5, 6, 7, 8, 9],
            [6, 7, 8],
        ]

    def test_a_wider_border_holds_every_narrower_one(self):
        widths = [with_border(ball(), border).labels for border in (-2.0, -1.0, 0.0, 1.0, 2.5, 7.0)]
        for narrow, wide in itertools.pairwise(widths):
            assert (narrow <= wide).all()
            assert narrow.sum() < wide.sum()

    def test_keeps_the_label_its_type_and_the_grid(self):
        mask = ball(label=7)
        wide = with_border(mask, 2.0)
        assert np.unique(wide.labels).tolist() == [0, 7]
        assert wide.labels.dtype == np.uint8
        assert wide.geometry is mask.geometry

    def test_none_is_the_mask_itself_and_an_empty_mask_stays_empty(self):
        mask = ball()
        assert with_border(mask, 0.0) is mask
        empty = Mask(np.zeros((4, 4, 4), np.uint8), Geometry((4, 4, 4), np.eye(4)))
        assert with_border(empty, 5.0) is empty

    def test_a_mask_without_any_outside_has_no_border_to_take_away(self):
        full = Mask(np.ones((4, 5, 6), np.uint8), Geometry((4, 5, 6), np.eye(4)))
        assert with_border(full, -1.0).labels.all()


class TestRefusals:
    def test_several_labels(self):
        with pytest.raises(
            UsageError, match="--border needs a mask of one label, got the labels 1, 2; remove --border"
        ):
            with_border(make_mask(make_volume(OBLIQUE)), 1.0)

    @pytest.mark.parametrize("border_mm", [float("nan"), float("inf"), float("-inf")])
    def test_no_number(self, border_mm):
        with pytest.raises(UsageError, match=f"expected a border in mm, got {border_mm}"):
            with_border(ball(), border_mm)

    def test_nothing_left(self):
        """The mask was checked before it was narrowed; an empty one must not leave quietly this way."""
        with pytest.raises(UsageError, match="a border of -50 mm removes the whole mask; choose a border closer to 0"):
            with_border(ball(), -50.0)
