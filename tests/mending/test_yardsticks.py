"""A hidden layer is measured by its outputs, the layer that decides by the probabilities that follow from them."""

from __future__ import annotations

import numpy as np
import pytest

from brain_edge_conversion.mending.targets import Meaning
from brain_edge_conversion.mending.yardsticks import DecisionYardstick, OutputYardstick

RANDOM = np.random.default_rng(0)
WANTED = RANDOM.normal(size=(1, 4000, 3)).astype(np.float32)
FAR = np.zeros_like(WANTED)
FAR[0, :20, 0] = 400.0
"""Few logits of hundreds: the largest label is certain there."""
CLASSES, REGIONS = DecisionYardstick(Meaning.CLASSES), DecisionYardstick(Meaning.REGIONS)


@pytest.mark.parametrize("yardstick", [CLASSES, REGIONS])
def test_a_certain_label_stays_certain_at_half_of_its_logit(yardstick: DecisionYardstick):
    """That is what a narrow range of the input does to the largest values."""
    half, whole = WANTED + FAR * np.float32(0.5), WANTED + FAR
    assert yardstick.error(half, whole) == pytest.approx(0.0, abs=1e-6)
    assert OutputYardstick().error(half, whole) > 0.5


@pytest.mark.parametrize("yardstick", [CLASSES, REGIONS])
def test_an_error_between_close_labels_counts_more_than_one_of_a_certain_label(yardstick: DecisionYardstick):
    noisy = WANTED + 0.3 * RANDOM.normal(size=WANTED.shape).astype(np.float32)
    assert yardstick.error(noisy, WANTED) > 0.01
    assert yardstick.error(noisy + FAR, WANTED + FAR) < yardstick.error(noisy, WANTED)


@pytest.mark.parametrize("yardstick", [CLASSES, REGIONS])
def test_the_shift_follows_the_many_and_not_the_far(yardstick: DecisionYardstick):
    got = WANTED - np.array([0.5, -0.25, 0.0], np.float32)
    got[0, :20, 0] += 300.0
    shift = yardstick.shift(got, WANTED + FAR).reshape(-1)
    assert shift - shift[2] == pytest.approx([0.5, -0.25, 0.0], abs=0.01)
    assert abs(OutputYardstick().shift(got, WANTED + FAR).reshape(-1)[0] - 0.5) > 0.4


@pytest.mark.parametrize("yardstick", [CLASSES, REGIONS])
def test_behind_the_shift_every_label_has_the_volume_that_it_should_have(yardstick: DecisionYardstick):
    """Noise in logits makes rare labels more frequent, which no mean of the logits shows."""
    rare = 2 * WANTED - np.array([0.0, 3.0, 5.0], np.float32)
    noisy = rare + 2 * RANDOM.normal(size=rare.shape).astype(np.float32)

    def volumes(logits: np.ndarray) -> np.ndarray:
        odds = np.exp(logits)
        share = odds / odds.sum(axis=2, keepdims=True) if yardstick is CLASSES else odds / (1 + odds)
        return np.asarray(share.mean(axis=(0, 1)))

    assert np.abs(volumes(noisy) / volumes(rare) - 1).max() > 0.2
    assert volumes(noisy + yardstick.shift(noisy, rare)) == pytest.approx(volumes(rare), rel=1e-3)


def test_a_shift_is_found_from_far_and_for_certain_labels():
    far = WANTED + np.array([30.0, 0.0, 0.0], np.float32)
    assert CLASSES.error(far + CLASSES.shift(far, WANTED), WANTED) < 1e-3
    certain = np.broadcast_to(np.array([500.0, -500.0, 0.0], np.float32), WANTED.shape)
    assert np.isfinite(CLASSES.shift(certain, certain)).all()


def test_a_position_counts_less_the_further_off_it_is():
    got = WANTED.copy()
    got[0, 100, 0] += 1.0
    got[0, 99, 1] += 100.0
    weights = CLASSES.weights(got, WANTED).reshape(-1)
    assert weights[0] == pytest.approx(1.0, abs=1e-3)
    assert weights[100] == pytest.approx(0.5, abs=1e-2)
    assert weights[99] == pytest.approx(1e-4, rel=0.02)
    assert OutputYardstick().weights(got, WANTED).tolist() == np.ones((1, 4000, 1)).tolist()


def test_what_a_bias_takes_back_is_no_loss():
    for yardstick in (OutputYardstick(), CLASSES, REGIONS):
        assert yardstick.loss(WANTED + np.float32(0.5), WANTED) == pytest.approx(0.0, abs=1e-5)
        assert yardstick.error(WANTED + np.array([0.5, 0, 0], np.float32), WANTED) > 0.02


def test_the_error_of_outputs_is_relative_to_their_spread():
    assert OutputYardstick().error(2 * WANTED, 2 * WANTED + np.float32(0.2)) == pytest.approx(0.1, rel=0.05)
    assert np.isfinite(OutputYardstick().error(np.ones((1, 4, 1), np.float32), np.zeros((1, 4, 1), np.float32)))


def test_logits_of_any_size_have_probabilities():
    huge = np.array([[[1e4, -1e4, 0.0]]], np.float32)
    for yardstick in (CLASSES, REGIONS):
        assert yardstick.error(huge, huge) == 0.0
