"""Leaving the activation out gives the same labels, and happens only where that holds."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from brain_edge.engine.segmenter import Segmenter
from brain_edge.image.geometry import Geometry
from brain_edge.image.phantom import Phantom, make_volume
from brain_edge.image.resample import Interpolation
from brain_edge.spec import Activation, Label, ModelSpec, Network, Sequence, SlidingWindow, Stage, Task
from brain_edge.spec.execution import SlicesAlong
from brain_edge.spec.plan import without_activation
from brain_edge.spec.steps import Argmax, Frame, LargestComponent, Restore, Threshold

RESTORE = Restore(interpolation=Interpolation.NEAREST)
ROUNDING = 1e-4
"""Of float32 logits; closer to the threshold than that, either label is right."""


def stage(above: float = 0.5, channel: int = 0, channels: int = 1, **network: Any) -> Stage:
    """A stage that decides on one sigmoid as soon as it has it."""
    fields: dict[str, Any] = {
        "graphs": ("one",),
        "channels_in": 1,
        "channels_out": channels,
        "activation": Activation.SIGMOID,
    }
    after = (Threshold(channel=channel, above=above), RESTORE, LargestComponent())
    return Stage(name="only", before=(), network=Network(**(fields | network)), after=after)


def decided(stage: Stage, output: np.ndarray) -> np.ndarray:
    """The labels that the first step of a stage makes of the output (C, I, J, K) of its network."""
    activated = expit(output) if stage.network.activation is Activation.SIGMOID else output
    frame = Frame(activated, Geometry(output.shape[1:], np.eye(4)))
    return np.asarray(stage.after[0].apply(frame).voxels)


@settings(deadline=None)
@given(
    above=st.floats(1e-3, 1 - 1e-3),
    channel=st.integers(0, 2),
    spread=st.floats(0.1, 30.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_logits_against_a_logit_decide_as_probabilities_against_a_probability(above, channel, spread, seed):
    logits = np.random.default_rng(seed).normal(0, spread, (3, 4, 5, 6)).astype(np.float32)
    threshold = np.log(above / (1 - above))
    assume(np.abs(logits[channel] - threshold).min() > ROUNDING * max(1.0, abs(threshold)))
    # beyond this, float32 probabilities themselves saturate: the logit is the better judge
    logits = np.clip(logits, -12, 12)
    published = stage(above, channel, channels=3)
    planned = without_activation(published)
    assert planned.network.activation is Activation.NONE
    np.testing.assert_array_equal(decided(planned, logits), decided(published, logits))


def test_only_the_activation_and_the_first_threshold_change():
    published = stage(0.9)
    planned = without_activation(published)
    above: Any = pytest.approx(np.log(9))
    assert planned.after[0] == Threshold(channel=0, above=above)
    assert planned.after[1:] == published.after[1:]
    assert msgspec.structs.replace(planned.network, activation=Activation.SIGMOID) == published.network


@pytest.mark.parametrize(
    ("activation", "activate"), [(Activation.SOFTMAX, lambda z: softmax(z, axis=0)), (Activation.SIGMOID, expit)]
)
@settings(deadline=None)
@given(channels=st.integers(2, 5), seed=st.integers(0, 2**32 - 1))
def test_the_largest_logit_is_the_largest_probability(activation, activate, channels, seed):
    logits = np.random.default_rng(seed).normal(0, 3, (channels, 4, 5, 6)).astype(np.float32)
    published = stage(channels=channels, activation=activation)
    published = msgspec.structs.replace(published, after=(Argmax(values=tuple(range(channels))), RESTORE))
    planned = without_activation(published)
    assert planned.network.activation is Activation.NONE
    assert planned.after == published.after
    by_probability = published.after[0].apply(Frame(activate(logits), Geometry(logits.shape[1:], np.eye(4)))).voxels
    np.testing.assert_array_equal(decided(planned, logits), by_probability)


def test_slices_are_not_averaged_so_their_logits_will_do():
    published = stage(execution=SlicesAlong(axis=2))
    assert without_activation(published).network.activation is Activation.NONE


SOFTMAX = stage(channels=2, channel=1, activation=Activation.SOFTMAX)


@pytest.mark.parametrize(
    "unchanged",
    [
        pytest.param(stage(flips=((), (0,))), id="mirrorings are averaged as probabilities"),
        pytest.param(stage(graphs=("one", "two")), id="members are averaged as probabilities"),
        pytest.param(stage(execution=SlidingWindow(shape=(4, 4, 4))), id="windows are averaged as probabilities"),
        pytest.param(stage(activation=Activation.NONE), id="there is no activation"),
        pytest.param(SOFTMAX, id="a threshold on a softmax depends on the other channels"),
        pytest.param(msgspec.structs.replace(SOFTMAX, after=()), id="nothing follows: the images are the result"),
        pytest.param(
            msgspec.structs.replace(
                stage(), after=(Restore(interpolation=Interpolation.CUBIC), Threshold(channel=0, above=0.5))
            ),
            id="probabilities are interpolated before they are compared",
        ),
        pytest.param(stage(above=0.0), id="0 is the probability of no logit"),
        pytest.param(stage(above=1.0), id="1 is the probability of no logit"),
        pytest.param(stage(above=-0.5), id="no probability is negative"),
    ],
)
def test_a_stage_stays_as_it_is_where(unchanged: Stage):
    assert without_activation(unchanged) is unchanged


class Logits:
    """A network (1, 1, I, J, K) -> (1, 1, I, J, K): bright is brain."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return np.asarray((batch - 350) / 60, dtype=np.float32)


@pytest.fixture
def segmenter() -> Segmenter:
    spec = ModelSpec(
        name="bright",
        task=Task.SKULL_STRIPPING,
        inputs=(Sequence(name="T1"),),
        stages=(stage(0.7),),
        labels=(Label(value=1, name="brain"),),
    )
    return Segmenter(spec, {"one": Logits()})


def test_a_segmenter_gives_the_same_mask_with_and_without_probabilities(segmenter: Segmenter):
    """Asked for probabilities, it computes them; the mask does not depend on the question."""
    volume = make_volume(Phantom(shape=(22, 26, 24), spacing_mm=8.0))
    plain, asked = segmenter(volume), segmenter(volume, probabilities=True)
    assert plain.probabilities is None
    assert asked.probabilities is not None
    np.testing.assert_allclose(asked.probabilities[0], expit((volume.voxels - 350) / 60), rtol=1e-5)
    assert 0 < np.count_nonzero(plain.mask.labels) < plain.mask.labels.size
    np.testing.assert_array_equal(plain.mask.labels, asked.mask.labels)
