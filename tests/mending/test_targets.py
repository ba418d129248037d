"""What an output means follows from the graph and its stage; disagreement is 1 - Dice of the worst label."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from openvino import Model, PartialShape, Type
from openvino import opset13 as ops
from tiny_package import SPEC

from brain_edge.spec import Activation
from brain_edge.spec.steps import Argmax, Threshold
from brain_edge_conversion.mending.targets import Meaning, Target, decided, disagreement, target_of

LAST = {"softmax": lambda x: ops.softmax(x, 1), "sigmoid": ops.sigmoid, "logits": ops.relu}


@pytest.mark.parametrize(
    ("last", "activation", "after", "target"),
    [
        ("softmax", Activation.NONE, Argmax(), Target(Meaning.CLASSES, True)),
        ("sigmoid", Activation.NONE, Threshold(channel=0, above=0.5), Target(Meaning.REGIONS, True)),
        ("logits", Activation.SOFTMAX, Argmax(), Target(Meaning.CLASSES)),
        ("logits", Activation.SIGMOID, Threshold(channel=0, above=0.5), Target(Meaning.REGIONS)),
        ("logits", Activation.NONE, Argmax(), Target(Meaning.CLASSES)),
        ("logits", Activation.NONE, None, Target(Meaning.VALUES)),
    ],
)
def test_the_meaning_of_an_output(last: str, activation: Activation, after: Any, target: Target):
    x = ops.parameter(PartialShape([1, 2, -1, -1, -1]), Type.f32, name="x")
    (stage,) = SPEC.stages
    network = msgspec.structs.replace(stage.network, activation=activation)
    changed = msgspec.structs.replace(stage, network=network, after=(after,) if after is not None else ())
    assert target_of(changed, Model([LAST[last](x)], [x], last)) == target


def test_disagreement_is_that_of_the_worst_label():
    wanted = np.array([[1, 1, 1, 1, 2, 2, 0, 0]], np.uint8)
    got = np.array([[1, 1, 1, 0, 2, 0, 0, 0]], np.uint8)
    assert disagreement([got], [wanted], Target(Meaning.CLASSES)) == pytest.approx(1 - 2 * 1 / 3)
    assert disagreement([wanted], [wanted], Target(Meaning.CLASSES)) == 0.0


def test_a_label_counts_only_where_one_of_both_has_it():
    empty, full = np.zeros((1, 4), np.uint8), np.array([[0, 1, 1, 1]], np.uint8)
    assert disagreement([empty, full], [empty, full], Target(Meaning.CLASSES)) == 0.0
    assert disagreement([empty, empty], [empty, full], Target(Meaning.CLASSES)) == 1.0


def test_regions_are_decided_at_even_odds():
    logits = np.asarray([[[-1.0, 2.0], [0.5, -3.0]]], np.float32)
    probabilities = np.asarray(1 / (1 + np.exp(-logits)), np.float32)
    for values, is_probability in ((logits, False), (probabilities, True)):
        found = decided(values, Target(Meaning.REGIONS, is_probability))
        assert found.tolist() == [[[False, True], [True, False]]]


def test_values_disagree_by_their_relative_error():
    wanted = np.full((1, 1, 4), 2.0, np.float32)
    assert disagreement([wanted * 1.1], [wanted], Target(Meaning.VALUES)) == pytest.approx(0.1)
