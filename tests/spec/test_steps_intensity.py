"""Steps that change intensities, against numpy written plainly, and the order in which they come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import geometries, voxels

from brain_edge.errors import InputError
from brain_edge.image.geometry import Geometry
from brain_edge.image.resample import Interpolation, resize
from brain_edge.spec.steps import (
    ChannelRule,
    Clip,
    FitMoment,
    FitPercentile,
    Frame,
    Linear,
    Moment,
    Normalise,
    NormaliseEach,
    Region,
    ResampleToSpacing,
    RescaleToUnit,
    ResizeTo,
    Scheme,
    ZScore,
)

SHAPE = (2, 7, 8, 9)


def framed(array: np.ndarray) -> Frame:
    return Frame(array.astype(np.float32), Geometry(array.shape[1:], np.eye(4)))


@pytest.fixture
def frame() -> Frame:
    """Two channels of different brightness, a quarter of the voxels zero."""
    array = voxels(SHAPE, 3)
    array[1] *= 7
    array[:, :, :2] = 0
    return framed(array)


class TestZScore:
    def test_over_everything(self, frame):
        expected = [(channel - channel.mean()) / channel.std() for channel in frame.voxels.astype(np.float64)]
        np.testing.assert_allclose(ZScore().apply(frame).voxels, expected, atol=1e-5)

    def test_over_what_is_not_zero_leaves_zeros_zero(self, frame):
        scaled = ZScore(region=Region.NONZERO).apply(frame).voxels
        for channel, result in zip(frame.voxels.astype(np.float64), scaled, strict=True):
            brain = channel[channel != 0]
            expected = np.where(channel != 0, (channel - brain.mean()) / brain.std(), 0)
            np.testing.assert_allclose(result, expected, atol=1e-5)

    def test_over_what_is_above_the_mean_scales_everything(self, frame):
        scaled = ZScore(region=Region.ABOVE_MEAN).apply(frame).voxels
        for channel, result in zip(frame.voxels.astype(np.float64), scaled, strict=True):
            bright = channel[channel >= channel.mean()]
            np.testing.assert_allclose(result, (channel - bright.mean()) / bright.std(), atol=1e-5)

    def test_positive_voxels_are_those_above_zero(self):
        frame = framed(np.array([-4, 0, 0, 1, 2, 6], dtype=np.float32).reshape(1, 6, 1, 1))
        fitted = FitMoment(name="m", moment=Moment.MEAN, region=Region.POSITIVE).apply(frame)
        assert fitted.statistics["m"] == (3.0,)

    @given(geometries(least=2), st.integers(0, 99))
    def test_leaves_mean_zero_and_deviation_one(self, geometry, seed):
        scaled = ZScore().apply(Frame(voxels((1, *geometry.shape), seed), geometry)).voxels.astype(np.float64)
        assert scaled.mean() == pytest.approx(0, abs=1e-4)
        assert scaled.std() == pytest.approx(1, abs=1e-4)

    def test_sums_do_not_lose_the_digits_of_a_bright_image(self):
        """In float32 sums, an offset of 100 000 leaves no deviation of 1."""
        array = voxels((1, 30, 30, 30), 5) / 30 + 1e5
        assert ZScore().apply(framed(array)).voxels.std(dtype=np.float64) == pytest.approx(1, abs=1e-4)


def test_the_foreground_of_all_channels_together_is_what_each_is_normalised_over():
    """nnU-Net's `use_mask_for_norm`: where any sequence is not 0, its holes filled."""
    array = np.zeros((2, 7, 7, 7), dtype=np.float32)
    array[0, 1:4, 1:6, 1:6] = voxels((3, 5, 5), 1)
    array[1, 3:6, 1:6, 1:6] = voxels((3, 5, 5), 2)
    array[:, 3, 3, 3] = 0
    rule = ChannelRule(scheme=Scheme.Z_SCORE_FOREGROUND)
    result = NormaliseEach(channels=(rule, rule)).apply(framed(array)).voxels
    foreground = np.zeros((7, 7, 7), dtype=bool)
    foreground[1:6, 1:6, 1:6] = True
    for channel, found in zip(array.astype(np.float64), result, strict=True):
        inside = channel[foreground]
        expected = np.where(foreground, (channel - inside.mean()) / inside.std(), channel)
        np.testing.assert_allclose(found, expected, atol=1e-5)


class TestFitAndUse:
    @pytest.mark.parametrize("percent", [0.0, 0.5, 37.2, 99.5, 100.0])
    def test_percentile_is_numpys_per_channel(self, frame, percent):
        fitted = FitPercentile(name="p", percent=percent).apply(frame)
        expected = [np.percentile(channel.astype(np.float64), percent) for channel in frame.voxels]
        np.testing.assert_allclose(fitted.statistics["p"], expected, rtol=1e-6, atol=1e-5)
        np.testing.assert_array_equal(fitted.voxels, frame.voxels)

    def test_percentile_over_a_region(self, frame):
        fitted = FitPercentile(name="p", percent=10.0, region=Region.NONZERO).apply(frame)
        expected = [np.percentile(channel[channel != 0].astype(np.float64), 10) for channel in frame.voxels]
        np.testing.assert_allclose(fitted.statistics["p"], expected, rtol=1e-6)

    def test_fitted_on_one_grid_and_used_on_another(self, frame):
        """deepbet: quantiles of the small volume scale the large one."""
        small = ResizeTo(shape=(3, 4, 3), interpolation=Interpolation.NEAREST).apply(frame)
        for name, percent in (("low", 5.0), ("high", 95.0)):
            small = FitPercentile(name=name, percent=percent).apply(small)
        large = Frame(frame.voxels, frame.geometry, statistics=small.statistics)
        scaled = RescaleToUnit(lower="low", upper="high").apply(large).voxels
        for channel, reduced, result in zip(frame.voxels, small.voxels, scaled, strict=True):
            low, high = np.percentile(reduced.astype(np.float64), [5, 95])
            np.testing.assert_allclose(result, np.clip((channel - low) / (high - low), 0, 1), atol=1e-5)

    def test_clip_with_constants_statistics_and_open_sides(self, frame):
        fitted = FitPercentile(name="p", percent=60.0).apply(frame)
        bounds = np.array(fitted.statistics["p"], dtype=np.float32).reshape(2, 1, 1, 1)
        np.testing.assert_array_equal(Clip(upper="p").apply(fitted).voxels, np.minimum(frame.voxels, bounds))
        np.testing.assert_array_equal(Clip(lower=90.0).apply(fitted).voxels, np.maximum(frame.voxels, 90))
        np.testing.assert_array_equal(Clip().apply(fitted).voxels, frame.voxels)

    def test_normalise_with_statistics(self, frame):
        fitted = FitPercentile(name="high", percent=99.0).apply(frame)
        divisors = np.array(fitted.statistics["high"]).reshape(2, 1, 1, 1)
        result = Normalise(subtract=12.0, divide="high").apply(fitted).voxels
        np.testing.assert_allclose(result, (frame.voxels - 12) / divisors, rtol=1e-5, atol=1e-6)

    def test_linear(self, frame):
        result = Linear(multiply=0.226, add=0.449).apply(frame).voxels
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, frame.voxels * 0.226 + 0.449, rtol=1e-6)

    def test_statistics_used_are_those_that_a_step_names(self):
        assert RescaleToUnit(lower="low", upper="high").statistics_used() == ("low", "high")
        assert Clip(lower=0.0, upper="high").statistics_used() == ("high",)
        assert Normalise(subtract="mean").statistics_used() == ("mean",)
        assert ZScore().statistics_used() == ()


class TestOrderIsTheModel:
    def test_resample_then_normalise_is_hd_bets(self, frame):
        resampled = ResampleToSpacing(spacing_mm=(2.0, 1.0, 1.5), interpolation=Interpolation.CUBIC).apply(frame)
        result = ZScore().apply(resampled).voxels
        expected = resize(frame.voxels, (4, 8, 6), Interpolation.CUBIC)
        expected = [(channel - channel.mean()) / channel.std() for channel in expected]
        np.testing.assert_allclose(result, expected, atol=1e-5)
        assert result.std(axis=(1, 2, 3)) == pytest.approx(1, abs=1e-5)

    def test_normalise_then_resize_is_brainmages_and_another_model(self, frame):
        normalised = ZScore(region=Region.ABOVE_MEAN).apply(frame)
        result = ResizeTo(shape=(4, 8, 6), interpolation=Interpolation.CUBIC).apply(normalised).voxels
        other = ZScore(region=Region.ABOVE_MEAN).apply(
            ResizeTo(shape=(4, 8, 6), interpolation=Interpolation.CUBIC).apply(frame)
        )
        np.testing.assert_allclose(result, resize(normalised.voxels, (4, 8, 6), Interpolation.CUBIC), rtol=1e-6)
        assert np.abs(result - other.voxels).max() > 0.1


class TestRefusals:
    CONTRAST = "expected an image with contrast, got one value in all voxels of the step {}; check that the file"

    @pytest.mark.parametrize("value", [0.1, 437.0, 1e6 / 3])
    @pytest.mark.parametrize("region", [Region.ALL, Region.NONZERO, Region.ABOVE_MEAN])
    def test_constant_image_has_no_z_score(self, value, region):
        with pytest.raises(InputError, match=self.CONTRAST.format("ZScore")):
            ZScore(region=region).apply(framed(np.full((1, 31, 33, 35), value)))

    def test_one_constant_channel_is_enough(self, frame):
        array = frame.voxels.copy()
        array[1] = 3
        with pytest.raises(InputError, match=self.CONTRAST.format("ZScore")):
            ZScore().apply(framed(array))

    def test_equal_percentiles_have_no_range(self):
        mostly_air = np.zeros((1, 10, 10, 10))
        mostly_air[0, 0, 0, 0] = 1
        fitted = framed(mostly_air)
        for name, percent in (("low", 1.0), ("high", 99.0)):
            fitted = FitPercentile(name=name, percent=percent).apply(fitted)
        with pytest.raises(InputError, match=self.CONTRAST.format("RescaleToUnit")):
            RescaleToUnit(lower="low", upper="high").apply(fitted)
        with pytest.raises(InputError, match=self.CONTRAST.format("Normalise")):
            Normalise(divide="low").apply(fitted)

    def test_nothing_but_zeros_has_no_region(self):
        with pytest.raises(InputError, match=r"expected voxels of the region nonzero in every channel, found none"):
            ZScore(region=Region.NONZERO).apply(framed(np.zeros((1, 4, 4, 4))))


def test_steps_do_not_change_the_voxels_they_are_given(frame):
    """The first frame is the caller's own image."""
    frame.voxels.setflags(write=False)
    fitted = FitPercentile(name="p", percent=90.0).apply(frame)
    for step in (
        Clip(lower=1.0, upper=50.0),
        Normalise(subtract=1.0, divide="p"),
        RescaleToUnit(lower=0.0, upper="p"),
        ZScore(),
        ZScore(region=Region.NONZERO),
        Linear(multiply=2.0),
    ):
        result = step.apply(fitted)
        assert result.voxels.dtype == np.float32
        assert not np.shares_memory(result.voxels, frame.voxels)
