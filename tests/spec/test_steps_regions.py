"""From regions and ordered classes to labels, against sets of voxels and cases made by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import shapes

from brain_edge.image.geometry import Geometry
from brain_edge.spec.steps import (
    Frame,
    LookUpRegions,
    OrdinalLevels,
    OrdinalRule,
    PaintedRegion,
    PaintRegions,
    PrependBackground,
)
from brain_edge.spec.steps.known_frame import KnownFrame, MisfitError

WT, TC, ET = 0, 1, 2


def framed(array: np.ndarray) -> Frame:
    return Frame(array, Geometry(array.shape[1:], np.eye(4)))


def probabilities(channels: int, shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((channels, *shape), dtype=np.float32)


def combinations(channels: int) -> np.ndarray:
    """Every combination of regions once, (C, 2^C, 1, 1)."""
    rows = [[float(entry >> channel & 1) for entry in range(2**channels)] for channel in range(channels)]
    return np.array(rows, dtype=np.float32).reshape(channels, -1, 1, 1)


def brats(labels: tuple[int, int, int], above: tuple[float, float, float] = (0.5, 0.5, 0.5)) -> PaintRegions:
    """WT, TC, ET with the labels of oedema, necrosis and enhancing tumour."""
    return PaintRegions(
        regions=tuple(
            PaintedRegion(channel=channel, above=level, label=label)
            for channel, (level, label) in enumerate(zip(above, labels, strict=True))
        )
    )


class TestPaintRegions:
    @pytest.mark.parametrize("labels", [(2, 1, 4), (2, 1, 3)])
    @given(shapes(1, 6), st.integers(0, 99))
    def test_of_nested_regions_are_set_differences(self, labels, shape, seed):
        """HarDNet-BTS: necrosis is TC minus ET, oedema is WT minus TC."""
        wt, tc, et = np.sort(probabilities(3, shape, seed), axis=0)[::-1] > 0.5
        result = brats(labels).apply(framed(np.stack([wt, tc, et]).astype(np.float32))).voxels
        expected = labels[0] * (wt & ~tc) + labels[1] * (tc & ~et) + labels[2] * et
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result[0], expected)

    @given(shapes(1, 6), st.integers(0, 99))
    def test_later_ones_win_each_with_its_threshold(self, shape, seed):
        """Sequential thresholds as nnSegNet writes them: WT, over it the necrosis, over that the enhancing tumour."""
        array = probabilities(3, shape, seed)
        expected = np.zeros(shape, dtype=np.uint8)
        for place in np.ndindex(*shape):
            for channel, (above, label) in enumerate(((0.3, 2), (0.5, 1), (0.7, 4))):
                if array[channel][place] > above:
                    expected[place] = label
        result = brats((2, 1, 4), (0.3, 0.5, 0.7)).apply(framed(array)).voxels
        np.testing.assert_array_equal(result[0], expected)

    def test_the_channels_may_come_in_any_order_and_the_threshold_is_strict(self):
        """ET, TC, WT out of the network; painted the other way round."""
        step = PaintRegions(
            regions=tuple(
                PaintedRegion(channel=channel, above=0.5, label=label) for channel, label in ((2, 2), (1, 1), (0, 4))
            )
        )
        array = np.array([[0, 0, 1, 0.5], [0, 1, 1, 0.5], [1, 1, 1, 0.5]], dtype=np.float32).reshape(3, 4, 1, 1)
        assert step.apply(framed(array)).voxels.ravel().tolist() == [2, 1, 4, 0]

    def test_a_channel_that_is_not_there_is_a_misfit(self):
        with pytest.raises(MisfitError, match="paints channel 2, but has only channels 0 to 1"):
            brats((2, 1, 4)).outcome(KnownFrame(2))
        assert brats((2, 1, 4)).outcome(KnownFrame(3)) == KnownFrame(1, frozenset({0, 1, 2, 4}))


class TestLookUpRegions:
    def test_the_conflict_table_of_the_cascaded_u_net(self):
        """ET+TC+WT, WT+ET, TC+ET -> 4; WT+TC, TC -> 1; WT -> 2; ET alone -> background."""
        step = LookUpRegions(above=(0.5, 0.5, 0.5), labels=(0, 2, 1, 1, 0, 4, 4, 4))
        result = step.apply(framed(combinations(3))).voxels.ravel()
        expected = {
            (0, 0, 0): 0,
            (1, 0, 0): 2,
            (0, 1, 0): 1,
            (1, 1, 0): 1,
            (0, 0, 1): 0,
            (1, 0, 1): 4,
            (0, 1, 1): 4,
            (1, 1, 1): 4,
        }
        seen = {
            tuple(regions): int(label) for regions, label in zip(combinations(3)[:, :, 0, 0].T, result, strict=True)
        }
        assert seen == expected

    @given(st.integers(1, 8), st.data())
    def test_any_table_gives_the_entry_of_the_combination(self, channels, data):
        table = tuple(data.draw(st.lists(st.integers(0, 255), min_size=2**channels, max_size=2**channels)))
        step = LookUpRegions(above=(0.5,) * channels, labels=table)
        assert tuple(step.apply(framed(combinations(channels))).voxels.ravel()) == table

    def test_each_region_has_its_own_threshold(self):
        step = LookUpRegions(above=(0.2, 0.8), labels=(0, 1, 2, 3))
        array = np.array([[0.5, 0.1, 0.5], [0.5, 0.9, 0.9]], dtype=np.float32).reshape(2, 3, 1, 1)
        assert step.apply(framed(array)).voxels.ravel().tolist() == [1, 2, 3]

    def test_a_table_of_another_size_is_refused(self):
        with pytest.raises(ValueError, match="expected 4 labels for the combinations of 2 regions, got 3"):
            LookUpRegions(above=(0.5, 0.5), labels=(0, 1, 2))
        with pytest.raises(MisfitError, match="has a table for 2 regions, but 3 channels"):
            LookUpRegions(above=(0.5, 0.5), labels=(0, 1, 2, 3)).outcome(KnownFrame(3))


class TestOrdinalLevels:
    @given(shapes(1, 6), st.integers(2, 8), st.integers(0, 99))
    def test_are_the_most_probable_or_the_expected_number_of_annotators(self, shape, channels, seed):
        array = probabilities(channels, shape, seed)
        array /= array.sum(axis=0)
        likely = OrdinalLevels().apply(framed(array)).voxels[0]
        np.testing.assert_array_equal(likely, array.argmax(axis=0))
        mean = np.tensordot(np.arange(channels), array.astype(np.float64), axes=1)
        result = OrdinalLevels(rule=OrdinalRule.EXPECTED).apply(framed(array)).voxels[0]
        assert result.dtype == np.uint8
        clear = np.abs(mean - np.floor(mean) - 0.5) > 1e-4
        np.testing.assert_array_equal(result[clear], np.floor(mean + 0.5)[clear])

    def test_two_halves_differ_between_the_rules(self):
        """Half "nobody", half "all four": the most probable level is nobody, the expected one two."""
        array = np.array([0.5, 0, 0, 0, 0.5], dtype=np.float32).reshape(5, 1, 1, 1)
        levels = {rule: int(OrdinalLevels(rule=rule).apply(framed(array)).voxels.item()) for rule in OrdinalRule}
        assert levels == {OrdinalRule.ARGMAX: 0, OrdinalRule.EXPECTED: 2}

    @pytest.mark.parametrize("level", range(4))
    def test_a_half_goes_up_whatever_is_below_it(self, level):
        """Not to the even level: 0.5 is 1, and 2.5 is 3."""
        array = np.zeros((5, 1, 1, 1), dtype=np.float32)
        array[level : level + 2] = 0.5
        assert int(OrdinalLevels(rule=OrdinalRule.EXPECTED).apply(framed(array)).voxels.item()) == level + 1

    def test_have_a_label_for_each_level(self):
        assert OrdinalLevels().outcome(KnownFrame(4)) == KnownFrame(1, frozenset({0, 1, 2, 3}))
        with pytest.raises(MisfitError, match="needs at least two channels to make levels, got one"):
            OrdinalLevels().outcome(KnownFrame(1))


class TestPrependBackground:
    @given(shapes(1, 6), st.integers(1, 5), st.integers(0, 99))
    def test_is_what_is_left_and_everything_sums_to_one(self, shape, channels, seed):
        array = probabilities(channels, shape, seed)
        result = PrependBackground().apply(framed(array)).voxels
        background = np.maximum(1 - array.sum(axis=0), 0)
        expected = np.concatenate([background[np.newaxis], array]) / (background + array.sum(axis=0))
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(result.sum(axis=0), 1, rtol=1e-5)

    def test_adds_a_channel(self):
        assert PrependBackground().outcome(KnownFrame(3)) == KnownFrame(4)


def test_no_step_changes_what_it_is_given():
    array = probabilities(3, (4, 5, 6), 0)
    array.setflags(write=False)
    steps = (brats((2, 1, 4)), LookUpRegions(above=(0.5,) * 3, labels=(0,) * 8), OrdinalLevels(), PrependBackground())
    for step, rule in itertools.product(steps, OrdinalRule):
        if isinstance(step, OrdinalLevels):
            OrdinalLevels(rule=rule).apply(framed(array))
        step.apply(framed(array))
