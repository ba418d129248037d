"""Which cases stand out: judged by SciPy's MAD and labelling, and by batches whose odd one out is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import ndimage, stats
from scipy.spatial import distance

from brain_edge.engine.agreement import MemberLabels
from brain_edge.image.geometry import Geometry
from brain_edge.image.volume import Mask
from brain_edge.io.nifti import read_volume
from brain_edge.jobs.outliers import (
    FAR,
    LEAST_AGREEMENT,
    LEAST_BORDER_SHARE,
    LEAST_CASES,
    LabelMeasure,
    OutlierKind,
    find_outliers,
    measure,
    robust_z,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.image.volume import LabelArray

USUAL_ML = (1290.0, 1310.0, 1350.0, 1400.0, 1420.0, 1480.0, 1530.0)


def batch(*volumes_ml: float) -> list[dict[str, LabelMeasure]]:
    return [{"brain": LabelMeasure(volume)} for volume in volumes_ml]


def kinds(cases: list[dict[str, LabelMeasure]]) -> list[list[OutlierKind]]:
    return [[outlier.kind for outlier in outliers] for outliers in find_outliers(cases)]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_robust_z_is_that_of_scipy(values: list[float]) -> None:
    """Iglewicz and Hoaglin's modified z-score, with the scale that SciPy calls normal."""
    spread = stats.median_abs_deviation(values, scale="normal")
    assume(spread > 1e-6)
    expected = (np.array(values) - np.median(values)) / spread
    assert robust_z(values) == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-9)


def test_without_any_spread_what_differs_is_infinitely_far() -> None:
    assert robust_z([2.0, 2.0, 2.0, 1.0, 3.0]) == [0.0, 0.0, 0.0, -math.inf, math.inf]
    assert robust_z([2.0, 2.0, 2.0, 1.0, 3.0], least_spread=0.5) == [0.0, 0.0, 0.0, -2.0, 2.0]


@pytest.mark.parametrize("odd_ml", [700.0, 2600.0])
def test_one_brain_of_half_or_twice_the_usual_volume_stands_out_alone(odd_ml: float) -> None:
    """Both are found, although 700 ml is within the plausible range of a brain."""
    found = find_outliers(batch(*USUAL_ML, odd_ml))
    assert [len(outliers) for outliers in found] == [0] * len(USUAL_ML) + [1]
    (outlier,) = found[-1]
    assert outlier.kind is OutlierKind.VOLUME
    assert f"brain of {odd_ml:.1f} ml, median of 8 cases 1" in outlier.message
    assert abs(outlier.value) > outlier.limit == FAR


def test_a_third_of_the_batch_may_be_odd_without_hiding_each_other() -> None:
    """The mean and standard deviation would be dragged along; median and MAD are not."""
    found = kinds(batch(*USUAL_ML, 400.0, 410.0, 405.0))
    assert found == [[]] * len(USUAL_ML) + [[OutlierKind.VOLUME]] * 3


@given(st.integers(-10, 10), st.integers(0, 6))
def test_the_unit_of_volume_does_not_matter(power: int, odd: int) -> None:
    """Lesions of 0.4 ml among those of 4 ml are as far as brains of 140 ml among those of 1400 ml."""
    volumes = [volume * (0.3 if k == odd else 1.0) for k, volume in enumerate(USUAL_ML)]
    assert kinds(batch(*volumes)) == kinds(batch(*(volume * 2.0**power for volume in volumes)))
    assert kinds(batch(*volumes))[odd] == [OutlierKind.VOLUME]


def test_visits_of_one_person_are_not_compared_to_the_last_millilitre() -> None:
    """All within a per mille, one 15 % larger: unusual for that person, and no reason to distrust the mask."""
    assert not any(kinds(batch(1400.0, 1400.1, 1400.2, 1399.9, 1400.0, 1610.0)))


def test_a_batch_of_four_is_too_small_to_compare() -> None:
    assert LEAST_CASES == 5
    assert not any(kinds(batch(1400.0, 1410.0, 1390.0, 300.0)))
    assert any(kinds(batch(1400.0, 1410.0, 1390.0, 1405.0, 300.0)))


def test_a_case_without_the_label_is_left_out() -> None:
    """A failed case has no measures, an absent lesion no volume: neither makes another one odd, or is odd itself."""
    cases = [{}, {"brain": LabelMeasure(0.0)}, *batch(*USUAL_ML)]
    assert not any(kinds(cases))
    assert kinds([{}, *batch(*USUAL_ML, 300.0)])[-1] == [OutlierKind.VOLUME]
    assert find_outliers([]) == []


@pytest.mark.parametrize(("pieces", "is_many"), [(1, False), (3, False), (4, True), (40, True)])
def test_more_than_twice_the_usual_pieces_are_many(pieces: int, is_many: bool) -> None:
    counts = [1, 1, 1, 1, 1, 1, pieces]
    found = kinds([{"brain": LabelMeasure(1400.0, components=count)} for count in counts])
    assert found == [[]] * 6 + [[OutlierKind.COMPONENTS] if is_many else []]


def test_lesions_that_come_in_many_pieces_everywhere_are_not_many() -> None:
    counts = [3, 7, 12, 20, 9, 15, 31]
    assert not any(kinds([{"lesion": LabelMeasure(4.0, components=count)} for count in counts]))


def test_a_label_at_the_border_stands_out_in_any_batch() -> None:
    share = LEAST_BORDER_SHARE * 1.2
    (found,) = find_outliers([{"brain": LabelMeasure(1400.0, border_share=share)}])
    assert [outlier.kind for outlier in found] == [OutlierKind.BORDER]
    assert "0.6% of brain lies on the border of the image" in found[0].message
    assert kinds([{"brain": LabelMeasure(1400.0, border_share=LEAST_BORDER_SHARE)}]) == [[]]


def test_a_member_that_disagrees_is_told_in_any_batch() -> None:
    (found,) = find_outliers([{"brain": LabelMeasure(1400.0, agreement=0.8)}])
    assert [outlier.kind for outlier in found] == [OutlierKind.AGREEMENT]
    assert "Dice 0.800" in found[0].message
    assert kinds([{"brain": LabelMeasure(1400.0, agreement=LEAST_AGREEMENT)}]) == [[]]


def test_labels_are_compared_each_with_its_own_kind() -> None:
    """Of two labels the second is odd in the last case, and only it is named."""
    cases = [{"white": LabelMeasure(500.0 + k), "grey": LabelMeasure(650.0 + k)} for k in range(7)]
    cases[-1]["grey"] = LabelMeasure(50.0)
    assert [[outlier.label for outlier in outliers] for outliers in find_outliers(cases)] == [[]] * 6 + [["grey"]]


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_measures_are_those_that_scipy_counts(seed: int, labels: int) -> None:
    """Components (corners connect), volume and share of the outermost layer, by scipy.ndimage."""
    random = np.random.default_rng(seed)
    voxels = random.choice(labels + 1, size=(7, 6, 5), p=[0.7, *[0.3 / labels] * labels]).astype(np.uint8)
    mask = Mask(voxels, Geometry((7, 6, 5), np.diag([2.0, 1.0, 3.0, 1.0])))
    rim = ~np.pad(np.ones((5, 4, 3), dtype=bool), 1)
    measures = measure(mask, {value: f"label {value}" for value in range(1, labels + 1)})
    for value in range(1, labels + 1):
        present = voxels == value
        found = measures[f"label {value}"]
        assert found.components == ndimage.label(present, structure=np.ones((3, 3, 3)))[1]
        assert found.volume_ml == pytest.approx(present.sum() * 6 / 1000)
        assert found.border_share == pytest.approx((present & rim).sum() / max(present.sum(), 1))
        assert found.agreement is None


WHOLE_BRAINS = [
    f"ms_longitudinal/{name}_brainmask.nii.gz"
    for name in (
        *("patient01/study1_FLAIR", "patient01/study1_T2W", "patient01/study2_FLAIR", "patient01/study2_T1W"),
        *("patient01/study2_T2W", "patient04/study1_FLAIR", "patient04/study1_T1W", "patient04/study1_T2W"),
    )
]
CUT_BRAINS = [
    "ms_longitudinal/patient01/study1_T1W_brainmask.nii.gz",
    "ms_longitudinal/patient09/study2_FLAIR_brainmask.nii.gz",
    "tcga_fg_6692/raw_head/bet_tcia_example_t1c_mask.nii.gz",
]


@pytest.mark.data
def test_published_masks_touch_the_border_where_slices_are_missing_and_not_else(mri: Callable[[str], Path]) -> None:
    """What the limit was chosen by: it lies in a gap of more than a factor of five."""
    whole, cut = ([_border_share(mri(name)) for name in names] for names in (WHOLE_BRAINS, CUT_BRAINS))
    assert max(whole) < 0.0015 < LEAST_BORDER_SHARE < 0.008 < min(cut)
    assert max(cut) < 0.0165


def _border_share(path: Path) -> float:
    volume = read_volume(path)
    share = measure(Mask((volume.voxels > 0).astype(np.uint8), volume.geometry), {1: "brain"})["brain"].border_share
    assert share is not None
    return share


@given(st.integers(0, 2**32 - 1))
def test_agreement_is_the_least_dice_of_any_member(seed: int) -> None:
    """By SciPy's Dice dissimilarity of the flattened labels; a member that is the ensemble changes nothing."""
    random = np.random.default_rng(seed)
    ensemble, *members = (random.integers(0, 3, (4, 3, 5)).astype(np.uint8) for _ in range(4))
    found = MemberLabels((4, 3, 5), [ensemble, *members], ensemble).agreement({1: "white", 2: "grey"})
    for value, name in ((1, "white"), (2, "grey")):
        expected = min(1 - distance.dice((each == value).ravel(), (ensemble == value).ravel()) for each in members)
        assert found[name] == pytest.approx(expected)


def test_members_that_find_nothing_agree_on_that_and_without_members_nothing_is_said() -> None:
    nothing = np.zeros((2, 2, 2), dtype=np.uint8)

    def agreement(*members: LabelArray) -> dict[str, float]:
        return MemberLabels(nothing.shape, list(members), nothing).agreement({1: "lesion"})

    assert agreement(nothing, nothing) == {"lesion": 1.0}
    assert agreement(nothing, nothing + 1) == {"lesion": 0.0}
    assert agreement() == {}
