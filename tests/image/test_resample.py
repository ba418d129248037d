"""Resampling by matrices is skimage's, scipy's and torch's resampling."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.transform import resize as skimage_resize
from strategies import shapes, voxels

from brain_edge.image.resample import Interpolation, axis_weights, nearest_indices, resize

SPLINE_ORDER: dict[Interpolation, Literal[1, 3]] = {Interpolation.LINEAR: 1, Interpolation.CUBIC: 3}
SMOOTH = list(SPLINE_ORDER)
TOLERANCE = 2e-6
"""Relative to the largest value: what float32 leaves."""


@pytest.mark.parametrize("interpolation", SMOOTH)
@given(shapes(2, 14), shapes(1, 24), st.integers(0, 99))
@settings(max_examples=60)
def test_equals_skimage(interpolation, source, target, seed):
    array = voxels(source, seed)
    theirs = skimage_resize(
        array.astype(np.float64),
        target,
        order=SPLINE_ORDER[interpolation],
        mode="edge",
        anti_aliasing=False,
        clip=False,
        preserve_range=True,
    )
    ours = resize(array[np.newaxis], target, interpolation)[0]
    assert ours.dtype == np.float32
    assert np.abs(ours - theirs).max() <= TOLERANCE * np.abs(array).max()


@pytest.mark.parametrize("interpolation", SMOOTH)
@pytest.mark.parametrize(
    ("source", "target"), [((31, 17, 22), (20, 30, 22)), ((9, 40, 8), (64, 5, 8)), ((7, 7, 7), (14, 21, 1))]
)
def test_equals_scipys_zoom_on_cells(interpolation, source, target):
    array = voxels(source, 7)
    zoom = [new / old for old, new in zip(source, target, strict=True)]
    theirs = ndimage.zoom(
        array.astype(np.float64), zoom, order=SPLINE_ORDER[interpolation], mode="nearest", grid_mode=True
    )
    ours = resize(array[np.newaxis], target, interpolation)[0]
    assert np.abs(ours - theirs).max() <= TOLERANCE * np.abs(array).max()


@pytest.mark.parametrize("interpolation", SMOOTH)
@given(st.integers(1, 400), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_weights_equal_scipys_zoom_of_the_identity(interpolation, source, target):
    theirs = ndimage.zoom(
        np.eye(source), (target / source, 1), order=SPLINE_ORDER[interpolation], mode="nearest", grid_mode=True
    )
    ours = axis_weights(source, target, interpolation)
    assert np.abs(ours - theirs).max() <= 2**-24  # half of the last digit of a float32 below one


@given(shapes(1, 40), shapes(1, 60), st.integers(0, 99))
def test_nearest_equals_torchs_nearest_exact(source, target, seed):
    array = voxels(source, seed)[np.newaxis]
    theirs = torch.nn.functional.interpolate(torch.from_numpy(array)[None], target, mode="nearest-exact")[0]
    np.testing.assert_array_equal(resize(array, target, Interpolation.NEAREST), theirs.numpy())
    backwards = np.asfortranarray(array[:, ::-1])[:, ::-1]  # the same values in another order of memory
    np.testing.assert_array_equal(resize(backwards, target, Interpolation.NEAREST), theirs.numpy())


def test_nearest_falls_to_torchs_side_where_a_centre_lies_on_a_border():
    """Every pair up to 128, and the shapes of deepbet: half of all such pairs have a centre on a border."""
    sides = [*range(1, 129), 155, 181, 217, 240, 256]
    for source in sides:
        cells = torch.arange(source, dtype=torch.float32)[None, None, :, None, None]
        for target in (2, 3, 49, 96, 127, 128, 155, 187, 217, 256):
            theirs = torch.nn.functional.interpolate(cells, (target, 1, 1), mode="nearest-exact").flatten()
            np.testing.assert_array_equal(nearest_indices(source, target), theirs.numpy(), f"{source} to {target}")


def test_nearest_keeps_labels_and_their_type():
    labels = np.array([0, 3, 255], dtype=np.uint8).reshape(1, 3, 1, 1)
    enlarged = resize(labels, (7, 2, 1), Interpolation.NEAREST)
    assert enlarged.dtype == np.uint8
    assert enlarged[0, :, 0, 0].tolist() == [0, 0, 3, 3, 3, 255, 255]


@pytest.mark.parametrize("interpolation", SMOOTH)
@given(st.integers(1, 200), st.integers(1, 200))
def test_rows_of_weights_sum_to_one(interpolation, source, target):
    weights = axis_weights(source, target, interpolation)
    assert weights.shape == (target, source)
    np.testing.assert_allclose(weights.sum(axis=1, dtype=np.float64), 1, atol=1e-6)


@pytest.mark.parametrize("interpolation", Interpolation)
@given(shapes(1, 10), shapes(1, 20))
def test_a_constant_stays_constant(interpolation, source, target):
    constant = np.full((2, *source), 437.5, dtype=np.float32)
    np.testing.assert_allclose(resize(constant, target, interpolation), 437.5, rtol=2e-6)


@pytest.mark.parametrize("interpolation", Interpolation)
@given(shapes(1, 10), st.integers(0, 99))
def test_the_same_size_is_the_same_image(interpolation, shape, seed):
    array = voxels((1, *shape), seed)
    np.testing.assert_array_equal(resize(array, shape, interpolation), array)


@pytest.mark.parametrize("interpolation", SMOOTH)
@given(shapes(2, 10), shapes(1, 16), st.integers(0, 99))
def test_mirroring_and_resampling_can_change_places(interpolation, source, target, seed):
    array = voxels((1, *source), seed)
    mirrored = resize(array[:, ::-1, :, ::-1], target, interpolation)
    expected = resize(array, target, interpolation)[:, ::-1, :, ::-1]
    np.testing.assert_allclose(mirrored, expected, atol=1e-3)


def test_channels_do_not_mix():
    array = voxels((3, 6, 7, 8), 1)
    together = resize(array, (9, 5, 8), Interpolation.CUBIC)
    for channel in range(3):
        alone = resize(array[channel : channel + 1], (9, 5, 8), Interpolation.CUBIC)
        np.testing.assert_allclose(together[channel], alone[0], rtol=1e-6)


def test_voxels_in_any_memory_order_give_the_same():
    array = voxels((1, 6, 7, 8), 2)
    plain = resize(array, (9, 5, 11), Interpolation.CUBIC)
    for axes in itertools.permutations(range(4)):
        stored = array.transpose(axes).copy().transpose(np.argsort(axes))
        np.testing.assert_array_equal(resize(stored, (9, 5, 11), Interpolation.CUBIC), plain)


def test_cached_weights_cannot_be_changed_by_their_user():
    with pytest.raises(ValueError, match="read-only"):
        axis_weights(5, 9, Interpolation.LINEAR)[0, 0] = 7


def test_more_than_a_factor_of_two_down_takes_no_mean():
    """Published programs do not smooth before they shrink; so a point between the neighbours is what is taken."""
    ramp = np.arange(9, dtype=np.float32).reshape(1, 9, 1, 1) ** 2
    assert resize(ramp, (3, 1, 1), Interpolation.LINEAR)[0, :, 0, 0].tolist() == [1, 16, 49]
