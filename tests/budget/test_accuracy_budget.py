"""The limits beyond the drop: disagreement, distance, and how far a figure is from its limit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from evidences import accuracy_case

from brain_edge.errors import UsageError
from brain_edge_conversion.budget.budget import AccuracyBudget, judge, smallest_budget
from brain_edge_conversion.search.evidence import label_records

if TYPE_CHECKING:
    from brain_edge.evaluation.evidence import AccuracyCase


def record(case: int, drop: float | None = 0.0, agreement: float | None = 1.0, **fields) -> AccuracyCase:
    """A case with a reference; `reference_volume_ml=None` makes it one without."""
    known = {
        "hd95_baseline_mm": 1.0,
        "hd95_candidate_mm": 1.0,
        "reference_volume_ml": 1000.0,
        "dice_baseline": 0.9,
        "dice_candidate": 0.9,
    }
    return accuracy_case(case, drop=drop, agreement=agreement, **(known | fields))


def without_reference(case: int, agreement: float) -> AccuracyCase:
    return record(case, None, agreement, hd95_baseline_mm=None, hd95_candidate_mm=None, reference_volume_ml=None)


def failures(cases: list[AccuracyCase], **limits: Any) -> list[str]:
    return list(judge(cases, 1.0, AccuracyBudget(**({"max_dice_drop": 0.01} | limits))).failures)


def test_opposite_errors_that_hide_in_a_drop_of_zero_are_seen_by_the_disagreement():
    """INT8 loses at one end what it wins at the other: Dice against the reference stays, the mask does not."""
    cases = [record(1, drop=0.0, agreement=0.93)]
    assert failures(cases) == [
        "mean disagreement of label 1 with the baseline is 0.07000 over the cases with a reference, the limit is 0.03"
    ]
    assert failures(cases, max_disagreement=0.08) == []
    assert failures(cases, max_disagreement=0.05) == [
        "mean disagreement of label 1 with the baseline is 0.07000 over the cases with a reference, the limit is 0.05"
    ]
    assert judge(cases, 1.0, AccuracyBudget()).worst_mean_disagreement == pytest.approx(0.07)


def test_cases_with_and_without_references_are_not_pooled_in_the_disagreement_either():
    """Nine good cases with references would hide the bad one without."""
    cases = [*(record(number, agreement=1.0) for number in range(1, 10)), without_reference(10, 0.9)]
    assert failures(cases, max_disagreement=0.05) == [
        "mean disagreement of label 1 with the baseline is 0.10000 over the cases without a reference, the limit is "
        "0.05"
    ]
    assert judge(cases, 1.0, AccuracyBudget()).worst_mean_disagreement == 0.0


def test_a_case_with_a_reference_that_lacks_the_label_is_still_one_with_a_reference():
    cases = [record(1, drop=None, agreement=None, reference_volume_ml=0.0), without_reference(2, 0.5)]
    with pytest.raises(UsageError, match="expected a label to compare, got none"):
        judge(cases, 1.0, AccuracyBudget())


@pytest.mark.parametrize(
    ("int8_mm", "words"),
    [
        (1.5, []),
        (1.6, ["HD95 of case 1, label 1 grows by 0.60 mm, the limit is 0.5 mm"]),
        (None, ["HD95 of case 1, label 1 is lost with the label, the limit is 0.5 mm"]),
    ],
)
def test_the_distance_can_be_bounded_case_by_case(int8_mm: float | None, words: list[str]):
    cases = [record(1, hd95_candidate_mm=int8_mm), record(2, hd95_candidate_mm=0.1)]
    assert failures(cases, max_hd95_increase_mm=0.5) == words


def test_unless_stated_hd95_grows_by_two_mm_or_a_voxels_diagonal():
    fine, coarse = record(1, hd95_candidate_mm=3.5), record(1, hd95_candidate_mm=3.5, voxel_diagonal_mm=5.2)
    assert failures([fine]) == ["HD95 of case 1, label 1 grows by 2.50 mm, the limit is 2 mm"]
    assert failures([coarse]) == []
    assert failures([record(1, hd95_candidate_mm=None)]) == [
        "HD95 of case 1, label 1 is lost with the label, the limit is 2 mm"
    ]


def test_each_case_has_its_own_limit_for_hd95_and_the_one_that_exceeds_it_is_named():
    """The coarse image grows by more, and may."""
    cases = [record(1, hd95_candidate_mm=3.5), record(2, hd95_candidate_mm=5.5, voxel_diagonal_mm=5.2)]
    assert failures(cases) == ["HD95 of case 1, label 1 grows by 2.50 mm, the limit is 2 mm"]
    assert judge(cases, 1.0, AccuracyBudget()).worst_hd95_increase_mm == 4.5


def test_a_budget_that_is_proposed_allows_the_disagreement_too():
    """A third of it, unless that has a limit of its own."""
    cases = [record(1, drop=0.001, agreement=0.93)]
    usual, stated = AccuracyBudget(max_dice_drop=0.01), AccuracyBudget(max_dice_drop=0.01, max_disagreement=0.05)
    words = "smallest --max-dice-drop that these cases meet: 0.02334"
    assert smallest_budget(judge(cases, 1.0, usual), usual) == words
    assert judge(cases, 1.0, AccuracyBudget(max_dice_drop=0.02334)).met
    assert smallest_budget(judge(cases, 1.0, stated), stated) == ""


def test_a_label_that_neither_mask_has_grows_by_nothing():
    assert record(1, hd95_baseline_mm=None, hd95_candidate_mm=3.0).hd95_increase_mm is None
    assert record(1, hd95_candidate_mm=None).hd95_increase_mm == math.inf


def test_excess_says_how_far_the_worst_figure_is_from_its_limit():
    assert judge([record(1, drop=0.005)], 1.0, AccuracyBudget(max_dice_drop=0.01)).excess == pytest.approx(0.5)
    limited = AccuracyBudget(max_dice_drop=0.01, max_disagreement=0.02)
    assert judge([record(1, drop=0.005, agreement=0.94)], 1.0, limited).excess == pytest.approx(3.0)
    still = AccuracyBudget(max_dice_drop=0.01, max_hd95_increase_mm=0)
    assert judge([record(1)], 1.0, still).excess == 1.0
    assert judge([record(1, hd95_candidate_mm=1.5)], 1.0, still).excess > 1.0


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_disagreement": 0.0}, r"expected --max-disagreement between 0 and 1"),
        ({"max_disagreement": math.nan}, r"expected --max-disagreement between 0 and 1"),
        ({"max_hd95_increase_mm": -1.0}, r"expected --max-hd95-increase-mm of 0 mm or more, got -1"),
        ({"max_hd95_increase_mm": math.nan}, r"expected --max-hd95-increase-mm of 0 mm or more, got nan"),
        ({"max_dice_drop": 0.02, "max_case_drop": 0.01}, r"--max-case-drop of at least --max-dice-drop, got 0\.01 and"),
        ({"max_exceedance": 0.1}, r"--max-exceedance would have no effect without --confidence; set both"),
        ({"confidence": 0.9, "max_exceedance": 1.5}, r"expected --max-exceedance between 0 and 1"),
        ({"confidence": 1.0}, r"expected --confidence between 0 and 1 \(such as 0\.95\), got 1"),
        ({"confidence": 95}, r"expected --confidence between 0 and 1 \(such as 0\.95\), got 95"),
    ],
)
def test_a_limit_that_cannot_bind_is_refused(limits: dict[str, Any], words: str):
    with pytest.raises(UsageError, match=words):
        AccuracyBudget(**limits)


def test_a_label_that_is_nowhere_is_left_out_and_counted_and_one_that_is_invented_is_measured_in_ml():
    nowhere = record(1, drop=None, agreement=None, reference_volume_ml=0.0, volume_candidate_ml=0.0)
    invented = record(
        2, drop=1.0, agreement=0.0, reference_volume_ml=0.0, volume_candidate_ml=7.5, hd95_baseline_mm=None
    )
    (label,) = label_records([nowhere, invented, record(3, drop=0.1, volume_candidate_ml=900.0)], AccuracyBudget())
    assert (label.cases, label.absent) == (2, 1)
    assert label.mean_drop == pytest.approx(0.55)
    assert label.worst_drop == 1.0
    assert label.false_positive_ml == 7.5
    assert label.mean_hd95_increase_mm == 0.0


def test_lesions_are_counted_over_all_cases_of_models_that_find_lesions():
    lesions = [record(case, lesions=3, found_baseline=3, found_candidate=case) for case in (1, 2)]
    (label,) = label_records(lesions, AccuracyBudget())
    assert (label.lesions, label.found_baseline, label.found_candidate) == (6, 6, 3)
    (label,) = label_records([record(1)], AccuracyBudget())
    assert label.lesions is None


def test_what_int8_invents_where_fp32_has_a_stray_voxel_is_bound():
    """The reference lacks the label, FP32 has one voxel of it and INT8 a litre: no drop, and no small matter."""
    stray = record(
        9,
        drop=0.0,
        dice_baseline=0.0,
        dice_candidate=0.0,
        reference_volume_ml=0.0,
        volume_baseline_ml=0.001,
        volume_candidate_ml=1000.0,
        agreement=0.0,
        hd95_baseline_mm=None,
        hd95_candidate_mm=None,
    )
    cases = [record(number) for number in range(10, 110)]
    assert failures([*cases, stray]) == [
        "case 9 has no label 1 in its reference, and 1e+03 ml more of it are found than by the baseline, the limit is "
        "20 ml"
    ]
    assert failures([*cases, msgspec.structs.replace(stray, volume_candidate_ml=15.0)]) == []


def test_one_patient_without_a_reference_who_is_lost_among_many_is_seen():
    """One good case with a reference decides on the drop; of the others each is bound."""
    cases = [record(1), *(without_reference(number, 1.0) for number in range(2, 100)), without_reference(100, 0.0)]
    assert failures(cases) == [
        "case 100 has no reference, and its masks of label 1 disagree by 1.00000, the limit for a single case is 0.06"
    ]


def test_a_label_that_the_baseline_hardly_has_is_refused_whatever_the_budget():
    """Labels that are numbered wrongly overlap a little: Dice 0.03 is no accuracy that a budget could keep."""
    cases = [record(number, dice_baseline=0.03, dice_candidate=0.03) for number in (1, 2)]
    with pytest.raises(UsageError, match=r"mean Dice of only 0\.03000 .* promises nothing"):
        judge(cases, 1.0, AccuracyBudget(max_dice_drop=0.001))
