"""STAPLE against SimpleITK's, binary and of several labels, and raters whose quality is known."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brain_edge.spec.steps.staple import staple


def raters(truth: np.ndarray, labels: list[int], errors: list[float], seed: int) -> list[np.ndarray]:
    """Maps that are wrong in a share of the voxels, at random."""
    random = np.random.default_rng(seed)
    maps = []
    for error in errors:
        wrong = random.random(truth.shape) < error
        maps.append(np.where(wrong, random.choice(labels, truth.shape), truth).astype(np.uint8))
    return maps


def made_truth(labels: list[int], seed: int, shape: tuple[int, int, int] = (24, 20, 16)) -> np.ndarray:
    """Nested balls: background, then one label inside the other."""
    places = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    radius = np.sqrt(sum((place - 0.05 * seed % 0.3) ** 2 for place in places))
    levels = np.digitize(radius, np.linspace(0.3, 0.9, len(labels) - 1))
    return np.array(labels[::-1], dtype=np.uint8)[levels]


def multi_label(maps: list[np.ndarray], undecided: int = 255) -> np.ndarray:
    images = [SimpleITK.GetImageFromArray(one) for one in maps]
    return SimpleITK.GetArrayFromImage(SimpleITK.MultiLabelSTAPLE(images, undecided))


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 2, 4]])
@pytest.mark.parametrize("errors", [[0.05, 0.1, 0.2], [0.02, 0.3, 0.3], [0.1, 0.1, 0.1, 0.4, 0.2]])
def test_is_simple_itks_for_several_labels(labels, errors):
    maps = raters(made_truth(labels, 1), labels, errors, 7)
    theirs = multi_label(maps)
    ours = staple(maps, labels)
    assert ours.dtype == np.uint8
    decided = theirs != 255
    assert decided.mean() > 0.99
    assert (ours[decided] != theirs[decided]).mean() < 1e-3


def test_is_simple_itks_binary_filter():
    maps = raters(made_truth([0, 1], 2), [0, 1], [0.05, 0.15, 0.25], 3)
    probability = SimpleITK.GetArrayFromImage(SimpleITK.STAPLE([SimpleITK.GetImageFromArray(one) for one in maps], 1.0))
    assert (staple(maps, [0, 1]) != (probability > 0.5)).mean() < 1e-3


@given(st.integers(0, 99))
@settings(max_examples=20)
def test_one_good_rater_is_believed_more_than_two_bad_ones(seed):
    """A majority vote is not: where both bad ones agree by chance, it follows them.

    Each label is a third here. Of one that is a hundredth too little may be seen: the test below has such a case.
    """
    labels = [0, 1, 2]
    truth = np.repeat(np.array(labels, dtype=np.uint8), 8)[:, np.newaxis, np.newaxis] * np.ones((1, 20, 16), np.uint8)
    maps = raters(truth, labels, [0.02, 0.45, 0.45], seed)
    votes = np.stack([sum((one == label).astype(int) for one in maps) for label in labels])
    assert (staple(maps, labels) != truth).mean() < (votes.argmax(axis=0) != truth).mean()


@given(st.integers(0, 99))
@example(72)
@settings(max_examples=20)
def test_is_simple_itks_also_where_a_label_is_rare_and_two_raters_are_bad(seed):
    labels = [0, 1, 2]
    maps = raters(made_truth(labels, seed), labels, [0.02, 0.45, 0.45], seed)
    theirs = multi_label(maps)
    decided = theirs != 255
    assert (staple(maps, labels)[decided] != theirs[decided]).mean() < 1e-3


@given(st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=20)
def test_raters_who_agree_are_right(count, seed):
    truth = made_truth([0, 1, 4], seed, (6, 5, 4))
    np.testing.assert_array_equal(staple([truth] * count, [0, 1, 4]), truth)


def test_the_order_of_the_raters_does_not_matter():
    maps = raters(made_truth([0, 1, 2, 4], 5), [0, 1, 2, 4], [0.05, 0.1, 0.3], 1)
    np.testing.assert_array_equal(staple(maps, [0, 1, 2, 4]), staple(maps[::-1], [0, 1, 2, 4]))


def test_of_two_labels_that_are_equally_probable_the_first_wins():
    """Two raters who contradict each other on every voxel in the same way: nothing says who is right."""
    one = np.array([0, 1, 0, 1], dtype=np.uint8)
    assert staple([one, 1 - one], [0, 1]).tolist() == [0, 0, 0, 0]
    assert staple([one, 1 - one], [1, 0]).tolist() == [1, 1, 1, 1]
