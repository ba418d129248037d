"""Dice, partners and the place of differences of two label maps."""

from __future__ import annotations

import numpy as np
import pytest
from phantoms import make_mask, make_volume

from brain_edge.image.metrics import least_dice
from brain_edge.image.volume import Mask
from brain_edge_conversion.convert.agreement import agree, differences

MASK = make_mask(make_volume())
LABELS = MASK.labels


def test_dice_is_that_of_the_metrics():
    other = np.roll(LABELS, 1, axis=0)
    assert agree(other, LABELS).least == pytest.approx(least_dice(other, LABELS), abs=1e-12)
    assert agree(LABELS, LABELS).exchanged == {}


def test_exchanged_labels_find_each_other():
    found = np.array([0, 2, 3, 1], dtype=np.uint8)[LABELS]
    agreement = agree(found, LABELS)
    assert agreement.least_as_partners == 1.0
    assert {agreement.partners[2], agreement.partners[3]} == {1, 2}
    assert agreement.exchanged[2] == 1


def test_two_empty_maps_agree_and_an_empty_one_does_not():
    empty = np.zeros_like(LABELS)
    assert agree(empty, empty).least == 1.0
    assert agree(empty, LABELS).least == 0.0


def test_equal_maps_have_no_differences():
    assert differences(LABELS, MASK, {1: "low", 2: "high"}) == ()


def test_a_layer_of_voxels_around_a_label_is_a_matter_of_interpolation():
    brain = Mask((LABELS > 0).astype(np.uint8), MASK.geometry)
    inside = brain.labels.astype(bool)
    for axis in range(3):
        inside = inside & np.roll(brain.labels > 0, 1, axis) & np.roll(brain.labels > 0, -1, axis)
    volume, border, _ = differences(inside.astype(np.uint8), brain, {1: "brain"})
    assert volume.startswith("brain: ")
    assert border.startswith("100% of ")
    assert border.endswith(", as after another interpolation")


def test_a_difference_far_from_the_border_is_none_of_interpolation():
    found = LABELS.copy()
    found[0, 0, :2] = 1
    words = differences(found, MASK, {1: "low", 2: "high"})
    assert "0% of 2 differing voxels touch the border of an expected label" in words
    assert any("Half of them lie in 1 of 1" in each for each in words)
