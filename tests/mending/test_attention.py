"""Half of the positions lie anywhere, half where the float network is in doubt, on whatever grid a layer has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from openvino import Model, PartialShape, Type
from openvino import opset13 as ops

from brain_edge_conversion.mending.attention import Attention, attentions, positions_of
from brain_edge_conversion.mending.targets import IMAGE, Meaning, Target

F32 = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
SIDES = (1, 8, 4, 4)
LOGITS = np.full((1, 2, *SIDES[1:]), -20.0, np.float32)
LOGITS[0, 0] = 20.0
LOGITS[0, :, 2, 1, 3] = 0.0
"""Two classes; one voxel of 128 is undecided."""


def model_of(last: Any = lambda x: x) -> Any:
    x = ops.parameter(PartialShape([1, 2, -1, -1, -1]), Type.f32, name="x")
    return Model([ops.result(last(x))], [x], "logits")


def attention_of(target: Target, last: Any = lambda x: x, values: np.ndarray = LOGITS) -> Attention | None:
    (found,) = attentions(model_of(last), [values], target, F32)
    return found


@pytest.mark.parametrize(
    ("target", "last"),
    [
        (Target(Meaning.CLASSES), lambda x: x),
        (Target(Meaning.CLASSES, is_probability=True), lambda x: ops.softmax(x, 1)),
        (Target(Meaning.REGIONS), lambda x: x),
        (Target(Meaning.REGIONS, is_probability=True), ops.sigmoid),
    ],
)
def test_doubt_lies_where_no_label_is_ahead(target: Target, last: Any):
    attention = attention_of(target, last)
    assert attention is not None
    assert attention.sides == SIDES
    doubt = np.diff(attention.sums, prepend=0.0).reshape(SIDES)
    assert np.argwhere(doubt > 0.1).tolist() == [[0, 2, 1, 3]]
    # two classes of even odds differ in half of all pairs of draws; two regions differ each in a quarter
    assert doubt.max() == pytest.approx(0.5)


def test_half_of_the_positions_are_drawn_by_doubt():
    found = positions_of(SIDES, 1000, np.random.default_rng(0), attention_of(Target(Meaning.CLASSES)))
    assert len(found) == 1000
    assert np.array_equal(found, np.sort(found))
    at_doubt = int(np.sum(found == np.ravel_multi_index((0, 2, 1, 3), SIDES)))
    assert 500 <= at_doubt <= 520
    assert len(np.unique(found)) > 100


@pytest.mark.parametrize("factor", [2, 0.5])
def test_doubt_is_found_at_the_same_part_of_a_finer_or_coarser_grid(factor: float):
    sides = (1, *(int(side * factor) for side in SIDES[1:]))
    attention = attention_of(Target(Meaning.CLASSES))
    assert attention is not None
    found = np.stack(np.unravel_index(attention.drawn(sides, 200, np.random.default_rng(0)), sides), axis=1)
    at = np.unique(np.floor(found[:, 1:] / factor), axis=0) if factor > 1 else np.unique(found[:, 1:], axis=0)
    assert at.tolist() == [[2, 1, 3]] if factor > 1 else [[1, 0, 1]]
    assert len(np.unique(found, axis=0)) == (8 if factor > 1 else 1)


def test_without_labels_or_doubt_all_positions_are_drawn_anywhere():
    assert attention_of(IMAGE) is None
    certain = np.where(np.arange(2).reshape(1, 2, 1, 1, 1) == 0, np.float32(200), np.float32(-200))
    assert attention_of(Target(Meaning.CLASSES), values=np.broadcast_to(certain, LOGITS.shape).copy()) is None
    found = positions_of(SIDES, 5000, np.random.default_rng(0), None)
    assert np.bincount(found, minlength=128).min() > 10


def test_doubt_of_an_output_of_other_axes_says_nothing_of_a_layer():
    """A matrix product counts positions in a sequence of tokens."""
    found = positions_of((1, 128), 5000, np.random.default_rng(0), attention_of(Target(Meaning.CLASSES)))
    assert np.bincount(found, minlength=128).min() > 10


def test_the_same_seed_draws_the_same_positions():
    attention = attention_of(Target(Meaning.CLASSES))
    one, two = (positions_of(SIDES, 100, np.random.default_rng(4), attention) for _ in range(2))
    assert np.array_equal(one, two)
