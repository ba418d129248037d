"""From probabilities to labels, against numpy, scipy and skimage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantoms import OBLIQUE, ORIENTATIONS, make_affine
from scipy import ndimage
from skimage.measure import label as skimage_label
from strategies import shapes, voxels

from brain_edge.image.geometry import Geometry, axis_moves
from brain_edge.image.resample import Interpolation, resize
from brain_edge.spec.steps import Argmax, FillHoles, Frame, LargestComponent, Orient, ResizeTo, Restore, Threshold
from brain_edge.spec.steps.moves import reorder

CONNECTIVITY = {6: 1, 18: 2, 26: 3}
"""Neighbours of a voxel: the number for scipy's and skimage's `connectivity`."""

PLANES = {"axial": "IS", "coronal": "PA", "sagittal": "LR"}
"""The letters of the axis along which the planes lie one above the other."""


def framed(array: np.ndarray, affine: np.ndarray | None = None) -> Frame:
    return Frame(array, Geometry(array.shape[1:], np.eye(4) if affine is None else affine))


def blobs(shape: tuple[int, int, int], seed: int, share: float = 0.4) -> np.ndarray:
    """A ragged map (I, J, K) uint8 with components and holes of many sizes."""
    noise = np.random.default_rng(seed).random(shape)
    return (noise < share).astype(np.uint8)


class TestDeciding:
    @given(shapes(), st.integers(2, 5), st.integers(0, 99))
    def test_argmax_is_numpys(self, shape, channels, seed):
        array = voxels((channels, *shape), seed)
        result = Argmax().apply(framed(array)).voxels
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result[0], array.argmax(axis=0))

    def test_a_tie_goes_to_the_first_channel_as_in_numpy(self):
        for channels in (2, 3):
            tie = np.ones((channels, 2, 2, 2), dtype=np.float32)
            assert Argmax().apply(framed(tie)).voxels.max() == 0 == tie.argmax(axis=0).max()

    def test_argmax_names_channels(self):
        array = np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1)
        assert Argmax(values=(0, 10, 255, 3)).apply(framed(array)).voxels.ravel().tolist() == [0, 10, 255, 3]

    def test_threshold_is_strict_and_looks_at_one_channel(self):
        array = np.array([[9, 9, 9], [0.4, 0.5, 0.6]], dtype=np.float32).reshape(2, 3, 1, 1)
        result = Threshold(channel=1, above=0.5).apply(framed(array)).voxels
        assert result.shape == (1, 3, 1, 1)
        assert result.dtype == np.uint8
        assert result.ravel().tolist() == [0, 0, 1]


class TestRestore:
    @pytest.mark.parametrize("interpolation", [Interpolation.LINEAR, Interpolation.CUBIC])
    def test_probabilities_come_back_smoothly_and_are_thresholded_there(self, interpolation):
        """BrainMaGe: the threshold comes after mapping back."""
        array = voxels((1, 9, 10, 8), 4)
        frame = ResizeTo(shape=(5, 6, 12), interpolation=interpolation).apply(framed(array, OBLIQUE))
        restored = Restore(interpolation=interpolation).apply(frame)
        np.testing.assert_array_equal(restored.voxels, resize(frame.voxels, (9, 10, 8), interpolation))
        assert Threshold(channel=0, above=100.0).apply(restored).voxels.shape == (1, 9, 10, 8)

    def test_labels_stay_whole_numbers(self):
        labels = blobs((6, 7, 8), 1)[np.newaxis] * 3
        frame = ResizeTo(shape=(9, 5, 11), interpolation=Interpolation.NEAREST).apply(framed(labels, OBLIQUE))
        restored = Restore(interpolation=Interpolation.NEAREST).apply(Orient(axes="SPL").apply(frame))
        assert restored.voxels.dtype == np.uint8
        assert set(np.unique(restored.voxels)) <= {0, 3}
        assert restored.geometry.shape == (6, 7, 8)
        np.testing.assert_array_equal(restored.geometry.affine, OBLIQUE)


class TestLargestComponent:
    @pytest.mark.parametrize("connectivity", CONNECTIVITY)
    @given(shape=shapes(1, 10), seed=st.integers(0, 999), share=st.sampled_from([0.05, 0.2, 0.4]))
    def test_is_scipys_and_skimages(self, connectivity, shape, seed, share):
        found = blobs(shape, seed, share)
        result = LargestComponent(connectivity=connectivity).apply(framed(found[np.newaxis])).voxels[0]
        structure = ndimage.generate_binary_structure(3, CONNECTIVITY[connectivity])
        pieces, count = ndimage.label(found, structure)
        np.testing.assert_array_equal(pieces > 0, skimage_label(found, connectivity=CONNECTIVITY[connectivity]) > 0)
        if count == 0:
            assert not result.any()
            return
        sizes = np.bincount(pieces.ravel())[1:]
        chosen = np.unique(pieces[result > 0])
        assert len(chosen) == 1
        assert sizes[chosen[0] - 1] == sizes.max() == result.sum()

    def test_components_are_of_everything_that_is_not_background_and_keep_their_labels(self):
        labels = np.zeros((1, 8, 4, 4), dtype=np.uint8)
        labels[0, 0:2], labels[0, 2:4], labels[0, 6] = 1, 2, 3
        result = LargestComponent().apply(framed(labels)).voxels
        assert result.dtype == np.uint8
        assert np.unique(result).tolist() == [0, 1, 2]

    def test_voxels_that_meet_at_a_corner_belong_together_unless_said_otherwise(self):
        """What deepbet and BrainMaGe do; with faces alone the three of a kind would win."""
        labels = np.zeros((1, 8, 4, 4), dtype=np.uint8)
        labels[0, [0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]] = 1
        labels[0, 6, 0, :3] = 2
        assert set(np.unique(LargestComponent().apply(framed(labels)).voxels)) == {0, 1}
        assert set(np.unique(LargestComponent(connectivity=6).apply(framed(labels)).voxels)) == {0, 2}

    def test_an_empty_map_stays_empty(self):
        assert not LargestComponent().apply(framed(np.zeros((1, 4, 5, 6), dtype=np.uint8))).voxels.any()

    def test_views_in_any_order_of_axes_give_the_same(self):
        """After Restore the labels are a flipped, transposed view: the memory is not in the order of the axes."""
        labels = blobs((9, 10, 11), 2)
        plain = LargestComponent().apply(framed(labels[np.newaxis])).voxels[0]
        for axes, flips in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
            slices = tuple(slice(None, None, flip) for flip in flips)
            view = labels.transpose(axes)[slices]
            result = LargestComponent().apply(framed(view[np.newaxis])).voxels[0]
            np.testing.assert_array_equal(result, plain.transpose(axes)[slices])


class TestFillHoles:
    @given(shape=shapes(1, 12), seed=st.integers(0, 999), share=st.sampled_from([0.5, 0.7, 0.85]))
    def test_in_the_volume_is_scipys(self, shape, seed, share):
        found = blobs(shape, seed, share)
        result = FillHoles().apply(framed(found[np.newaxis])).voxels[0]
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result > 0, ndimage.binary_fill_holes(found))

    def test_a_pocket_that_opens_at_an_edge_of_the_image_is_no_hole(self):
        """The mask touches every face of its box, and the pocket reaches only the edge where two faces meet."""
        pocket = np.zeros((2, 2, 3), dtype=np.uint8)
        for voxel in ((0, 0, 0), (0, 0, 2), (0, 1, 1), (1, 0, 1)):
            pocket[voxel] = 1
        np.testing.assert_array_equal(FillHoles().apply(framed(pocket[np.newaxis])).voxels[0], pocket)

    @pytest.mark.parametrize("axis", PLANES)
    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_in_planes_is_scipys_plane_by_plane_however_stored(self, axis, orientation):
        found = blobs((8, 9, 10), 5, 0.7)
        stored = Geometry(found.shape, make_affine(orientation))
        result = FillHoles(axis=axis).apply(Frame(found[np.newaxis], stored)).voxels[0]
        along = next(k for k, letter in enumerate(orientation) if letter in PLANES[axis])
        planes = [ndimage.binary_fill_holes(plane) for plane in np.moveaxis(found, along, 0)]
        np.testing.assert_array_equal(result > 0, np.moveaxis(np.stack(planes), 0, along))

    @pytest.mark.parametrize("axis", ["volume", *PLANES])
    def test_the_same_head_stored_in_any_order_has_the_same_holes_filled(self, axis):
        found = blobs((8, 9, 10), 6, 0.7)
        canonical = Geometry(found.shape, make_affine("RAS"))
        expected = FillHoles(axis=axis).apply(Frame(found[np.newaxis], canonical)).voxels
        for orientation in ORIENTATIONS:
            moves = axis_moves("RAS", orientation)
            stored = Frame(reorder(found[np.newaxis], moves), canonical.reoriented(moves))
            np.testing.assert_array_equal(FillHoles(axis=axis).apply(stored).voxels, reorder(expected, moves))

    def test_a_hole_in_a_plane_that_is_open_in_the_volume_is_filled_in_planes_only(self):
        tube = np.ones((5, 5, 6), dtype=np.uint8)
        tube[2, 2, :] = 0
        assert not FillHoles().apply(framed(tube[np.newaxis])).voxels[0, 2, 2].any()
        assert FillHoles(axis="axial").apply(framed(tube[np.newaxis])).voxels[0, 2, 2].all()

    def test_holes_get_the_label_and_labels_keep_theirs(self):
        labels = np.full((1, 5, 5, 5), 3, dtype=np.uint8)
        labels[0, :2] = 1
        labels[0, 2, 2, 2] = 0
        result = FillHoles(value=7).apply(framed(labels)).voxels
        assert result[0, 2, 2, 2] == 7
        assert np.count_nonzero(result != labels) == 1
