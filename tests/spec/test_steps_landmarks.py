"""Numbers that were fitted in training: constants, and landmarks of the histogram."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.exposure import match_histograms
from strategies import shapes, voxels

from brain_edge.errors import InputError
from brain_edge.image.geometry import Geometry
from brain_edge.spec.steps import Clip, Constants, Frame, MatchLandmarks, Normalise, Region
from brain_edge.spec.steps.known_frame import KnownFrame, MisfitError
from brain_edge.spec.steps.landmarks import piecewise_linear

PERCENTS = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0)


def framed(array: np.ndarray, **more) -> Frame:
    return Frame(array.astype(np.float32), Geometry(array.shape[1:], np.eye(4)), **more)


class TestConstants:
    def test_scale_each_sequence_by_its_own(self):
        """A data set's mean and deviation (SPiN), or the training maximum and mean (PGAN and SPADE's U-Net)."""
        array = voxels((2, 5, 6, 7), 1)
        frame = Constants(name="mean", values=(30.2, 5.0)).apply(framed(array))
        frame = Constants(name="std", values=(35.2, 2.0)).apply(frame)
        result = Normalise(subtract="mean", divide="std").apply(frame).voxels
        expected = (array - np.array([30.2, 5.0]).reshape(2, 1, 1, 1)) / np.array([35.2, 2.0]).reshape(2, 1, 1, 1)
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)

    def test_leave_out_what_was_not_given(self):
        frame = Constants(name="top", values=(1.0, 2.0, 3.0)).apply(framed(voxels((2, 3, 3, 3), 0), absent=(1,)))
        assert frame.statistics["top"] == (1.0, 3.0)
        assert Clip(upper="top").apply(frame).voxels[1].max() == 3

    def test_are_one_for_each_channel(self):
        with pytest.raises(MisfitError, match="has 2 constants for 4 channels"):
            Constants(name="mean", values=(1.0, 2.0)).outcome(KnownFrame(4))


class TestMatchLandmarks:
    @given(shapes(3, 9), st.integers(0, 99))
    def test_is_numpys_interpolation_between_percentiles(self, shape, seed):
        array = voxels((2, *shape), seed)
        marks = tuple(tuple(np.sort(voxels((len(PERCENTS),), seed + each)).tolist()) for each in (1, 2))
        result = MatchLandmarks(percents=PERCENTS, landmarks=marks).apply(framed(array)).voxels
        for channel, row, got in zip(array, marks, result, strict=True):
            found = np.percentile(channel, PERCENTS)
            inside = (channel >= found[0]) & (channel <= found[-1])
            np.testing.assert_allclose(got[inside], np.interp(channel[inside], found, row), rtol=1e-4, atol=1e-2)

    def test_goes_on_beyond_the_outermost_landmarks_with_their_slope(self):
        values = np.array([-10, 0, 5, 10, 20, 40], dtype=np.float32)
        result = piecewise_linear(values, np.array([0.0, 10.0, 20.0]), np.array([0.0, 100.0, 120.0]))
        np.testing.assert_allclose(result, [-100, 0, 50, 100, 120, 160])

    def test_with_the_percentiles_of_a_reference_is_histogram_matching(self):
        """Scikit-image matches whole distributions; a percentile for each hundredth comes close."""
        image, reference = voxels((1, 30, 30, 30), 1), voxels((1, 30, 30, 30), 2) ** 2
        percents = tuple(float(each) for each in np.linspace(0, 100, 101))
        marks = (tuple(np.percentile(reference, percents).tolist()),)
        ours = MatchLandmarks(percents=percents, landmarks=marks).apply(framed(image)).voxels
        theirs = match_histograms(image, reference)
        spread = reference.std()
        middle = (image > np.percentile(image, 2)) & (image < np.percentile(image, 98))
        assert np.abs(ours - theirs)[middle].max() < 0.05 * spread

    def test_over_a_skull_stripped_brain_leaves_the_air_at_zero(self):
        array = voxels((1, 8, 8, 8), 3)
        array[0, :4] = 0
        step = MatchLandmarks(percents=(0.0, 50.0, 100.0), landmarks=((10.0, 50.0, 90.0),), region=Region.NONZERO)
        result = step.apply(framed(array)).voxels
        assert not result[0, :4].any()
        np.testing.assert_allclose([result[0, 4:].min(), result[0, 4:].max()], [10, 90], rtol=1e-4)

    def test_percentiles_that_fall_together_do_not_divide_by_zero(self):
        array = np.zeros((1, 10, 10, 10), dtype=np.float32)
        array[0, 8:] = np.arange(200).reshape(2, 10, 10)
        step = MatchLandmarks(percents=(1.0, 10.0, 50.0, 90.0, 99.0), landmarks=((0.0, 1.0, 2.0, 3.0, 4.0),))
        result = step.apply(framed(array)).voxels
        assert np.isfinite(result).all()
        assert (np.diff(result[0, 8:].ravel()) >= 0).all()

    def test_an_image_without_contrast_is_refused(self):
        step = MatchLandmarks(percents=(1.0, 99.0), landmarks=((0.0, 1.0),))
        with pytest.raises(InputError, match="expected an image with contrast, got one value at all percentiles"):
            step.apply(framed(np.full((1, 4, 4, 4), 3.0)))

    def test_landmarks_that_do_not_fit_the_percents_are_refused(self):
        with pytest.raises(ValueError, match="expected percents in ascending order, each once"):
            MatchLandmarks(percents=(50.0, 1.0), landmarks=((0.0, 1.0),))
        for marks in ((0.0,), (1.0, 0.0)):
            with pytest.raises(
                ValueError, match="expected 2 landmarks per sequence, one for each percent, in ascending"
            ):
                MatchLandmarks(percents=(1.0, 99.0), landmarks=(marks,))
        with pytest.raises(MisfitError, match="has 1 rows of landmarks for 4 channels"):
            MatchLandmarks(percents=(1.0, 99.0), landmarks=((0.0, 1.0),)).outcome(KnownFrame(4))
