"""Lesion-wise scores of BraTS 2023: cases whose answer can be worked out by hand, and some of the challenge's own.

The challenge's program (rachitsaluja/BraTS-2023-Metrics) is in no package registry, so it cannot run beside ours here.
What it says of five made cases stands below, from its comparison of lesions at commit 0c603fc; on sixty more, with
lesions small, missed, false and absent, voxels of three shapes, both said the same to the last digit. Its HD95 weighs
surface elements and is not compared.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from brain_edge.errors import GeometryError
from brain_edge.evaluation.lesion_wise import LesionWise, lesion_wise
from brain_edge.image.geometry import Geometry

SHAPE = (40, 40, 40)
GRID = Geometry(SHAPE, np.eye(4))


def boxes(*spans: tuple[int, int]) -> np.ndarray:
    """Cubes along the diagonal."""
    mask = np.zeros(SHAPE, dtype=bool)
    for start, stop in spans:
        mask[start:stop, start:stop, start:stop] = True
    return mask


@pytest.mark.parametrize(
    ("seed", "spacing_mm", "dice", "lesions", "false"),
    [
        (1, (1, 1, 1), 0.07446254283711803, 7, 16),
        (2, (1, 1, 2), 0.17068868760700748, 9, 14),
        (3, (0.8, 0.8, 1.5), 0.14506341791771973, 6, 11),
        (4, (1, 1, 1), 0.07468384659447132, 6, 21),
        (5, (1, 1, 2), 0.13188603431093993, 6, 13),
    ],
)
def test_the_program_of_the_challenge_says_the_same(seed: int, spacing_mm, dice: float, lesions: int, false: int):
    """Figures are the program's. Lesions are where smoothed noise is high; the prediction knows half of that noise."""
    random = np.random.default_rng(seed)
    first, second = (gaussian_filter(random.standard_normal((48, 44, 40)), 2.2) for _ in range(2))
    predicted, reference = first + second, first
    found = lesion_wise(
        predicted > np.quantile(predicted, 0.97),
        reference > np.quantile(reference, 0.98),
        Geometry((48, 44, 40), np.diag([*spacing_mm, 1])),
    )
    assert found.dice == pytest.approx(dice, abs=1e-12)
    assert (found.lesions, found.missed, found.false) == (lesions, 0, false)


def test_the_same_mask_is_perfect():
    assert lesion_wise(boxes((2, 8), (25, 35)), boxes((2, 8), (25, 35)), GRID) == LesionWise(1, 0, 2, 0, 0)


def test_no_lesion_and_none_found_is_perfect_too():
    assert lesion_wise(boxes(), boxes(), GRID) == LesionWise(1, 0, 0, 0, 0)


def test_a_lesion_that_is_none_counts_dice_0_and_374_mm():
    """One lesion is right, one component is false: (1 + 0) / 2 and (0 + 374) / 2."""
    assert lesion_wise(boxes((2, 8), (25, 35)), boxes((2, 8)), GRID) == LesionWise(0.5, 187, 1, 0, 1)
    assert lesion_wise(boxes((2, 8)), boxes(), GRID) == LesionWise(0, 374, 0, 0, 1)


def test_a_lesion_that_is_missed_counts_the_same():
    assert lesion_wise(boxes((25, 35)), boxes((2, 8), (25, 35)), GRID) == LesionWise(0.5, 187, 2, 1, 0)


def test_a_lesion_that_is_half_found_counts_its_own_dice():
    """A cube of 10 and its half: 2 * 500 / (1000 + 500); the farthest face of one is 5 mm from the other."""
    half = boxes((20, 30))
    half[25:] = False
    found = lesion_wise(half, boxes((20, 30)), GRID)
    assert found.dice == pytest.approx(2 / 3)
    assert 4 <= found.hd95_mm <= 5


def test_small_lesions_do_not_count_and_what_touches_them_is_not_false():
    """27 mm^3 are not above 50; 64 are, and so are 27 voxels of 8 mm^3."""
    assert lesion_wise(boxes((2, 5)), boxes((2, 5)), GRID) == LesionWise(1, 0, 0, 0, 0)
    assert lesion_wise(boxes(), boxes((2, 5)), GRID) == LesionWise(1, 0, 0, 0, 0)
    assert lesion_wise(boxes(), boxes((2, 6)), GRID) == LesionWise(0, 374, 1, 1, 0)
    assert lesion_wise(boxes(), boxes((2, 5)), Geometry(SHAPE, np.diag([2.0, 2, 2, 1]))).missed == 1


def test_a_lesion_of_exactly_50_mm3_does_not_count():
    lesion = np.zeros(SHAPE, dtype=bool)
    lesion[10:15, 10:15, 10:12] = True
    assert lesion_wise(boxes(), lesion, GRID).lesions == 0
    lesion[15, 10, 10] = True
    assert lesion_wise(boxes(), lesion, GRID).lesions == 1


def test_parts_that_lie_close_are_one_lesion():
    """Gaps of four voxels are closed by three dilations from both sides; gaps of ten are not."""
    near, far = boxes((2, 8)), boxes((2, 8))
    near[2:8, 2:8, 12:18] = True
    far[2:8, 2:8, 18:24] = True
    assert lesion_wise(near, near, GRID).lesions == 1
    assert lesion_wise(far, far, GRID).lesions == 2


def test_a_component_beside_a_lesion_belongs_to_it():
    """It touches the lesion's dilation: no false component, but a Dice of 0."""
    beside = np.zeros(SHAPE, dtype=bool)
    beside[10:16, 10:16, 18:24] = True
    lesion = np.zeros(SHAPE, dtype=bool)
    lesion[10:16, 10:16, 10:16] = True
    found = lesion_wise(beside, lesion, GRID)
    assert (found.dice, found.missed, found.false) == (0, 0, 0)
    assert found.hd95_mm < 10


def test_masks_on_other_grids_are_refused():
    with pytest.raises(GeometryError, match="shape of the grid"):
        lesion_wise(boxes(), np.zeros((3, 3, 3), dtype=bool), GRID)
