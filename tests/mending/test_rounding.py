"""Integers for a layer: never worse than rounding each weight for itself, and right where the right ones are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brain_edge_conversion.mending.rounding import Moments, Part, Rounded, fitted, moments, rounded

MOST = 127


def moments_of(inputs: np.ndarray, outputs: np.ndarray, *, has_bias: bool = True) -> Moments:
    part = Part(inputs[np.newaxis], outputs[np.newaxis], np.ones((1, len(inputs), 1)))
    (found,) = moments([part], has_bias=has_bias)
    return found


def outputs_of(inputs: np.ndarray, found: Rounded) -> np.ndarray:
    return inputs @ (found.integers * found.steps[:, np.newaxis]).T + found.biases


@given(seed=st.integers(0, 2**16), most=st.sampled_from([3, 7, 64, 127]), correlated=st.floats(0, 0.99))
@example(seed=746, most=127, correlated=0.4375)  # in turn and polished, an output is 4 % behind plain rounding
@settings(max_examples=30, deadline=None)
def test_the_output_is_nearer_than_with_each_weight_rounded_for_itself(seed: int, most: int, correlated: float):
    random = np.random.default_rng(seed)
    common = random.normal(size=(500, 1))
    inputs = correlated * common + (1 - correlated) * random.normal(size=(500, 12)) + random.normal(size=12)
    weights = random.normal(size=(4, 12))
    wanted = inputs @ weights.T + 3.0
    found = rounded(weights, moments_of(inputs, wanted), most)
    assert np.abs(found.integers).max() <= most
    assert np.array_equal(found.integers, np.rint(found.integers))
    steps = np.abs(weights).max(axis=1) / most
    nearest = np.rint(weights / steps[:, np.newaxis]) * steps[:, np.newaxis]
    plain = inputs @ nearest.T
    plain += (wanted - plain).mean(axis=0)
    error, error_plain = (np.mean((got - wanted) ** 2) for got in (outputs_of(inputs, found), plain))
    assert error <= error_plain * (1 + 1e-9) + 1e-12


def test_weights_that_are_integers_already_stay_as_they_are():
    random = np.random.default_rng(1)
    integers = random.integers(-MOST, MOST + 1, (3, 8)).astype(float)
    integers[:, 0] = MOST
    inputs = random.normal(size=(300, 8))
    found = rounded(integers * 0.01, moments_of(inputs, inputs @ integers.T * 0.01), MOST)
    assert np.array_equal(found.integers, integers)
    assert found.steps == pytest.approx(0.01)


def test_the_fit_takes_back_what_an_earlier_layer_lost():
    """The earlier layer has lost a tenth of one input: its weight grows by as much."""
    random = np.random.default_rng(2)
    right = random.normal(size=(2000, 4))
    weights = random.normal(size=(3, 4))
    read = right * np.array([0.9, 1, 1, 1])
    found = fitted(weights, moments_of(read, right @ weights.T))
    assert found == pytest.approx(weights / np.array([0.9, 1, 1, 1]), rel=0.01)


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_inputs_that_never_vary_give_finite_weights_and_the_right_mean(value: float):
    inputs, weights = np.full((50, 4), value), np.ones((2, 4))
    wanted = inputs @ weights.T + 1.0
    seen = moments_of(inputs, wanted)
    found = rounded(fitted(weights, seen), seen, MOST)
    assert np.isfinite(found.steps).all()
    assert (found.steps > 0).all()
    assert outputs_of(inputs, found) == pytest.approx(wanted)


def test_without_a_bias_the_mean_counts_and_none_is_added():
    random = np.random.default_rng(3)
    inputs = random.normal(size=(400, 6)) + 2.0
    weights = random.normal(size=(2, 6))
    seen = moments_of(inputs, inputs @ weights.T, has_bias=False)
    found = rounded(fitted(weights, seen), seen, MOST)
    assert np.array_equal(found.biases, np.zeros(2))
    assert outputs_of(inputs, found) == pytest.approx(inputs @ weights.T, abs=0.1)


def test_a_position_of_weight_two_counts_as_two_positions():
    random = np.random.default_rng(4)
    inputs, outputs = random.normal(size=(2, 50, 4)), random.normal(size=(2, 50, 3))
    weights = random.integers(1, 4, size=(2, 50, 1)).astype(np.float64)
    parts = [
        Part(inputs[:, :20], outputs[:, :20], weights[:, :20]),
        Part(inputs[:, 20:], outputs[:, 20:], weights[:, 20:]),
    ]
    for group, found in enumerate(moments(parts, has_bias=True)):
        repeated = np.repeat(np.arange(50), weights[group, :, 0].astype(int))
        wanted = moments_of(inputs[group][repeated], outputs[group][repeated])
        for name in ("inputs", "cross", "mean_inputs", "mean_outputs"):
            np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=1e-12)
