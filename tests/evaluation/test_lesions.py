"""Lesion-wise recall: every lesion counts once, whatever its size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import label

from brain_edge.errors import GeometryError
from brain_edge.evaluation.lesions import LesionRecall, lesion_recall

MASKS = arrays(bool, (6, 5, 4), elements=st.sampled_from([False, False, False, True]))


@given(MASKS, MASKS)
def test_counts_are_those_of_scipy(mask: np.ndarray, reference: np.ndarray):
    components, count = label(reference, structure=np.ones((3, 3, 3)))
    found = sum(bool((mask & (components == number)).any()) for number in range(1, count + 1))
    assert lesion_recall(mask, reference) == LesionRecall(found, count)


def test_a_small_lesion_that_is_lost_counts_as_much_as_a_large_one():
    reference = np.zeros((20, 20, 20), bool)
    reference[2:12, 2:12, 2:12] = reference[16, 16, 16] = True
    mask = reference.copy()
    mask[16, 16, 16] = False
    assert lesion_recall(mask, reference) == (1, 2)
    assert lesion_recall(reference, reference) == (2, 2)


def test_a_patient_without_lesions_has_none_to_find():
    nothing = np.zeros((3, 3, 3), bool)
    assert lesion_recall(~nothing, nothing) == (0, 0)


def test_masks_on_other_grids_are_refused():
    with pytest.raises(GeometryError, match="expected masks on one grid"):
        lesion_recall(np.zeros((3, 3, 3), bool), np.zeros((3, 3, 4), bool))
