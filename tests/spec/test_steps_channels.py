"""Channels that are not sequences: what an earlier stage left, the brain mask, the classes of a label map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantoms import OBLIQUE
from strategies import geometries, voxels

from brain_edge.errors import InputError
from brain_edge.image.geometry import Geometry
from brain_edge.image.resample import Interpolation
from brain_edge.spec.steps import (
    AppendForeground,
    AppendStage,
    CropOrPadTo,
    Frame,
    OneHot,
    Orient,
    Region,
    ResizeTo,
    ZScore,
)
from brain_edge.spec.steps.known_frame import KnownFrame, MisfitError
from brain_edge.spec.steps.regrid import onto


class TestAppendStage:
    @given(geometries(), st.integers(1, 3), st.integers(0, 99))
    def test_on_the_same_grid_nothing_is_interpolated(self, geometry, channels, seed):
        found = Frame(np.random.default_rng(seed).random((channels, *geometry.shape), dtype=np.float32), geometry)
        frame = Frame(voxels((2, *geometry.shape), seed), geometry, findings={"wt": found})
        result = AppendStage(stage="wt").apply(frame).voxels
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, np.concatenate([frame.voxels, found.voxels]))

    @given(geometries(least=2), st.integers(0, 99))
    def test_labels_on_the_native_grid_follow_the_moves_of_this_stage(self, geometry, seed):
        """Restored labels, and a later stage that orients and crops: exactly the moved labels, as numbers."""
        labels = np.random.default_rng(seed).choice([0, 1, 4], (1, *geometry.shape)).astype(np.uint8)
        frame = Frame(voxels((1, *geometry.shape), seed), geometry, findings={"wt": Frame(labels, geometry)})
        moved, expected = frame, Frame(labels, geometry)
        for step in (Orient(axes="SPL"), CropOrPadTo(shape=(5, 6, 7))):
            moved, expected = step.apply(moved), step.apply(expected)
        result = AppendStage(stage="wt").apply(moved).voxels[1:]
        np.testing.assert_array_equal(result, expected.voxels)

    def test_labels_of_a_coarser_grid_come_from_the_nearest_voxel(self):
        """Between 0 and 4 there is no label 2."""
        coarse = Geometry((6, 7, 8), OBLIQUE)
        labels = np.random.default_rng(0).choice([0, 1, 4], (1, 6, 7, 8)).astype(np.uint8)
        fine = ResizeTo(shape=(12, 14, 16), interpolation=Interpolation.NEAREST).apply(Frame(labels, coarse))
        frame = Frame(voxels((1, 12, 14, 16), 0), fine.geometry, findings={"wt": Frame(labels, coarse)})
        result = AppendStage(stage="wt").apply(frame).voxels[1:]
        assert set(np.unique(result)) == {0, 1, 4}
        np.testing.assert_array_equal(result, fine.voxels)

    def test_probabilities_of_a_coarser_grid_come_linear(self):
        coarse = Geometry((10, 11, 12), OBLIQUE)
        found = Frame(np.random.default_rng(0).random((1, 10, 11, 12), dtype=np.float32), coarse)
        fine = ResizeTo(shape=(20, 22, 24), interpolation=Interpolation.LINEAR).apply(found)
        result = onto(found.voxels, coarse, fine.geometry, is_labels=False)
        np.testing.assert_allclose(result, fine.voxels, atol=1e-4)

    def test_counts_channels(self):
        before = KnownFrame(4, findings={"wt": KnownFrame(1, frozenset({0, 1}))})
        assert AppendStage(stage="wt").outcome(before).channels == 5


class TestAppendForeground:
    def test_is_one_wherever_any_sequence_is_not_zero(self):
        """DiNTS: any modality; after a z-score over what is not zero, which leaves the air at zero."""
        array = voxels((2, 6, 7, 8), 1)
        array[0, :3], array[1, 2:5] = 0, 0
        brain = (array != 0).any(axis=0)
        frame = ZScore(region=Region.NONZERO).apply(Frame(array, Geometry((6, 7, 8), np.eye(4))))
        result = AppendForeground().apply(frame).voxels
        np.testing.assert_array_equal(result[:2], frame.voxels)
        np.testing.assert_array_equal(result[2], brain.astype(np.float32))
        assert AppendForeground().outcome(KnownFrame(4)) == KnownFrame(5)


class TestOneHot:
    @given(geometries(), st.integers(0, 99))
    def test_has_a_one_for_the_class_of_each_voxel(self, geometry, seed):
        labels = np.random.default_rng(seed).choice([0, 1, 2, 6], (1, *geometry.shape)).astype(np.float32)
        result = OneHot(values=(0, 1, 2, 6)).apply(Frame(labels, geometry)).voxels
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result.sum(axis=0), 1)
        np.testing.assert_array_equal(np.array([0, 1, 2, 6])[result.argmax(axis=0)], labels[0])

    def test_a_value_that_is_no_class_is_refused(self):
        frame = Frame(np.array([0, 1, 7, 2.5], dtype=np.float32).reshape(1, 4, 1, 1), Geometry((4, 1, 1), np.eye(4)))
        with pytest.raises(InputError, match=r"expected a label map of the values 0, 1, got also 2\.5, 7; give a"):
            OneHot(values=(0, 1)).apply(frame)

    def test_of_several_channels_is_a_misfit(self):
        with pytest.raises(MisfitError, match="needs one label map to make classes, got 2 channels"):
            OneHot(values=(0, 1)).outcome(KnownFrame(2))
        assert OneHot(values=(0, 1, 2)).outcome(KnownFrame(1)) == KnownFrame(3)


@pytest.mark.parametrize("absent", [(0, 2), (2, 0)])
def test_sequences_that_are_absent_get_zeros_at_their_own_places(absent: tuple[int, ...]):
    """Of four, the first and the third are not there: the network must see 0, second, 0, fourth."""
    given = np.full((2, 2, 2, 2), [[[[2.0]]], [[[4.0]]]], dtype=np.float32)
    complete = Frame(given, Geometry((2, 2, 2), np.eye(4)), absent=absent).complete()
    np.testing.assert_array_equal(complete.voxels[:, 0, 0, 0], [0, 2, 0, 4])
    assert complete.absent == ()
