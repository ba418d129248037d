"""Boxes around something, and slices of another size: forth as numpy would, and back to the voxels they came from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantoms import ORIENTATIONS, make_affine
from strategies import INTERPOLATIONS, geometries, shapes, voxels

from brain_edge.errors import ImplausibleError, InputError
from brain_edge.image.geometry import Geometry, axis_moves
from brain_edge.image.resample import Interpolation, resize
from brain_edge.spec.steps import (
    CropAroundStage,
    CropOrPadInPlane,
    CropToForeground,
    Frame,
    Orient,
    Placement,
    Region,
    ResizeInPlane,
    WhenEmpty,
)
from brain_edge.spec.steps.moves import reorder, take_box

AXES = st.integers(0, 2)
PLANES = st.tuples(st.integers(1, 15), st.integers(1, 15))


def framed(array: np.ndarray, **more) -> Frame:
    return Frame(array, Geometry(array.shape[1:], np.eye(4)), **more)


def noise(geometry: Geometry, channels: int = 1, seed: int = 0) -> Frame:
    return Frame(voxels((channels, *geometry.shape), seed), geometry)


def outside_zero(array: np.ndarray, box) -> np.ndarray:
    """What survives a cut to a box: the array with zeros outside of it."""
    kept = np.zeros_like(array)
    inside = tuple(slice(max(0, low), max(0, high)) for low, high in box)
    kept[(slice(None), *inside)] = array[(slice(None), *inside)]
    return kept


class TestInPlane:
    @given(geometries(), AXES, PLANES, INTERPOLATIONS)
    def test_resizing_is_that_of_every_slice_and_keeps_the_field_of_view(self, geometry, axis, plane, interpolation):
        frame = noise(geometry, 2)
        step = ResizeInPlane(axis=axis, shape=plane, interpolation=interpolation)
        resized = step.apply(frame)
        assert resized.geometry.shape[axis] == geometry.shape[axis]
        np.testing.assert_allclose(resized.geometry.corners_mm(), geometry.corners_mm(), atol=1e-8)
        for number in (0, geometry.shape[axis] - 1):
            one = np.take(frame.voxels, [number], axis=axis + 1)
            sides = [*plane]
            sides.insert(axis, 1)
            expected = resize(one, sides, interpolation)
            got = np.take(resized.voxels, [number], axis=axis + 1)
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-2)
        assert resized.undone(interpolation).voxels.shape == frame.voxels.shape

    @given(geometries(least=2), AXES, st.integers(1, 3))
    def test_resizing_by_whole_numbers_comes_back_exactly_with_nearest(self, geometry, axis, factor):
        frame = noise(geometry)
        plane = tuple(side * factor for other, side in enumerate(geometry.shape) if other != axis)
        step = ResizeInPlane(axis=axis, shape=plane, interpolation=Interpolation.NEAREST)
        np.testing.assert_array_equal(step.apply(frame).undone(Interpolation.NEAREST).voxels, frame.voxels)

    @given(geometries(), AXES, PLANES, st.sampled_from(Placement))
    def test_padding_and_cutting_comes_back_where_nothing_was_cut(self, geometry, axis, plane, placement):
        frame = noise(geometry)
        moved = CropOrPadInPlane(axis=axis, shape=plane, placement=placement, value=-7.0).apply(frame)
        wanted = [*plane]
        wanted.insert(axis, geometry.shape[axis])
        assert moved.geometry.shape == tuple(wanted)
        back = moved.undone(Interpolation.NEAREST).voxels
        kept = back != 0
        np.testing.assert_array_equal(back[kept], frame.voxels[kept])
        grew = all(want >= side for want, side in zip(wanted, geometry.shape, strict=True))
        assert kept.all() == (grew or moved.geometry.shape == geometry.shape)

    def test_240_squares_are_padded_to_256_in_the_middle(self):
        array = voxels((1, 3, 24, 24), 1)
        padded = CropOrPadInPlane(axis=0, shape=(26, 26)).apply(framed(array)).voxels
        np.testing.assert_array_equal(padded, np.pad(array, [(0, 0), (0, 0), (1, 1), (1, 1)]))


class TestCropToForeground:
    @given(shapes(2, 9), st.integers(0, 5), st.integers(0, 99))
    def test_is_the_box_of_what_is_not_zero_in_any_channel(self, shape, margin, seed):
        random = np.random.default_rng(seed)
        array = np.where(random.random((2, *shape)) < 0.05, voxels((2, *shape), seed), 0).astype(np.float32)
        array[0][tuple(random.integers(0, side) for side in shape)] = 5
        cropped = CropToForeground(margin_voxels=margin).apply(framed(array))
        places = np.argwhere((array != 0).any(axis=0))
        low = np.maximum(places.min(axis=0) - margin, 0)
        high = np.minimum(places.max(axis=0) + 1 + margin, shape)
        i, j, k = zip(low.tolist(), high.tolist(), strict=True)
        np.testing.assert_array_equal(cropped.voxels, take_box(array, (i, j, k)))
        np.testing.assert_array_equal(cropped.undone(Interpolation.NEAREST).voxels, array)

    def test_the_head_is_what_is_above_the_mean(self):
        array = np.full((1, 10, 10, 10), 1.0, dtype=np.float32)
        array[0, 3:7, 2:5, 6:9] = 100
        cropped = CropToForeground(region=Region.ABOVE_MEAN).apply(framed(array))
        assert cropped.geometry.shape == (4, 3, 3)
        assert CropToForeground(region=Region.ALL).apply(framed(array)).geometry.shape == (10, 10, 10)

    def test_an_empty_image_is_refused(self):
        with pytest.raises(
            InputError, match="expected an image with a foreground to crop to, found none; check the image"
        ):
            CropToForeground().apply(framed(np.zeros((1, 3, 3, 3), dtype=np.float32)))


def with_finding(geometry: Geometry, box, labels_on: Geometry | None = None) -> Frame:
    """Noise, and a finding "wt" that fills a box."""
    labels = np.zeros((1, *geometry.shape), dtype=np.uint8)
    labels[(slice(None), *(slice(low, high) for low, high in box))] = 2
    found = Frame(labels, geometry)
    frame = noise(labels_on or geometry)
    return Frame(frame.voxels, frame.geometry, findings={"wt": found})


class TestCropAroundStage:
    @given(geometries(least=4, most=12), shapes(1, 14), st.data())
    def test_has_the_shape_asked_for_and_holds_what_fits_of_the_finding(self, geometry, shape, data):
        box = []
        for side in geometry.shape:
            low = data.draw(st.integers(0, side - 1))
            box.append((low, data.draw(st.integers(low + 1, side))))
        frame = with_finding(geometry, box)
        cropped = CropAroundStage(stage="wt", shape=shape).apply(frame)
        assert cropped.geometry.shape == shape
        back = cropped.undone(Interpolation.NEAREST).voxels
        seen = back != 0
        np.testing.assert_array_equal(back[seen], frame.voxels[seen])
        for axis, ((low, high), want, side) in enumerate(zip(box, shape, geometry.shape, strict=True)):
            planes = np.flatnonzero(seen.any(axis=tuple(a for a in range(4) if a != axis + 1)))
            assert planes.size == min(want, side)  # never beyond the image while there is image left
            if high - low <= want:
                assert planes[0] <= low
                assert planes[-1] >= high - 1

    def test_the_box_is_in_the_middle_of_the_finding_and_pushed_back_at_the_border(self):
        geometry = Geometry((20, 20, 20), np.eye(4))
        step = CropAroundStage(stage="wt", shape=(8, 8, 8))
        middle = step.apply(with_finding(geometry, [(9, 13)] * 3)).geometry.affine[:3, 3]
        assert middle.tolist() == [7, 7, 7]
        corner = step.apply(with_finding(geometry, [(0, 2), (18, 20), (5, 6)])).geometry.affine[:3, 3]
        assert corner.tolist() == [0, 12, 1]

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_the_finding_may_lie_on_the_native_grid(self, orientation):
        """A stage that was restored, and a later one that orients: the same box in the world."""
        native = Geometry((14, 15, 16), make_affine(orientation))
        frame = with_finding(native, [(2, 5), (6, 9), (10, 12)])
        oriented = Orient(axes="RAS").apply(frame)
        cropped = CropAroundStage(stage="wt", shape=(8, 8, 8)).apply(oriented)
        moves = axis_moves(orientation, "RAS")
        found = np.argwhere(reorder(frame.findings["wt"].voxels, moves)[0] > 0)
        middle = (found.min(axis=0) + found.max(axis=0) + 1) / 2
        start = np.linalg.inv(oriented.geometry.affine) @ cropped.geometry.affine[:, 3]
        assert np.abs(start[:3] + 4 - middle).max() <= 2

    def test_nothing_found_is_refused_or_the_middle_of_the_image(self):
        geometry = Geometry((20, 21, 6), np.eye(4))
        frame = with_finding(geometry, [(0, 0)] * 3)
        with pytest.raises(ImplausibleError, match="stage 'wt' found nothing to crop to in this image"):
            CropAroundStage(stage="wt", shape=(8, 8, 8)).apply(frame)
        step = CropAroundStage(stage="wt", shape=(8, 8, 8), when_empty=WhenEmpty.CENTRE)
        assert step.apply(frame).geometry.affine[:3, 3].tolist() == [6, 7, -1]
