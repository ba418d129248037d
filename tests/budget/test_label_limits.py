"""Limits of single labels, and of small ones in ml: what each binds, and what it says."""

from __future__ import annotations

from typing import Any

import pytest
from evidences import accuracy_case
from hypothesis import given
from hypothesis import strategies as st

from brain_edge.cli.budget_options import drops_in
from brain_edge.errors import UsageError
from brain_edge.evaluation.evidence import AccuracyCase, LabelLimit
from brain_edge.spec import Label
from brain_edge.verbs.limits import budget_of
from brain_edge_conversion.budget.budget import AccuracyBudget, judge, smallest_budget
from brain_edge_conversion.budget.label_limits import LabelDrop
from brain_edge_conversion.search.evidence import label_records

LABELS = (Label(value=1, name="necrosis"), Label(value=2, name="oedema"))


def case(number: int, label: int, drop: float | None = 0.0, **fields: Any) -> AccuracyCase:
    """A case with a reference of 100 ml in which both masks agree."""
    known: dict[str, Any] = {
        "drop": drop,
        "dice_baseline": 0.9,
        "dice_candidate": None if drop is None else 0.9 - drop,
        "agreement": 1.0,
        "reference_volume_ml": 100.0,
        "volume_baseline_ml": 100.0,
        "volume_candidate_ml": 100.0,
    }
    return accuracy_case(number, label, **(known | fields))


def small(number: int, apart_ml: float, volume_ml: float = 1.0, label: int = 1, **fields: Any) -> AccuracyCase:
    """A case of which both masks have `volume_ml` and differ by `apart_ml`."""
    known = {
        "agreement": 1 - apart_ml / (2 * volume_ml),
        "reference_volume_ml": volume_ml,
        "volume_baseline_ml": volume_ml,
        "volume_candidate_ml": volume_ml,
    }
    return case(number, label, **(known | fields))


def failures(cases: list[AccuracyCase], **limits: Any) -> list[str]:
    return list(judge(cases, 1.0, AccuracyBudget(**limits)).failures)


def of_labels(**drops: float) -> tuple[LabelDrop, ...]:
    return AccuracyBudget(label_drops=tuple(LabelDrop(*each) for each in drops.items())).for_labels(LABELS).label_drops


def test_a_label_with_a_limit_of_its_own_has_that_one_and_the_others_theirs():
    drops = of_labels(necrosis=0.04)
    assert failures([case(1, 1, 0.03), case(1, 2, 0.01)], label_drops=drops) == []
    assert failures([case(1, 1, 0.01), case(1, 2, 0.015)], label_drops=drops) == [
        "mean drop of label 2 is 0.01500, the budget is 0.01"
    ]
    assert failures([case(1, 1, 0.05), case(1, 2, 0.005)], label_drops=drops) == [
        "mean drop of label 1 is 0.05000, the budget is 0.04"
    ]


def test_a_tighter_limit_of_a_label_binds_although_another_drops_further():
    drops = of_labels(oedema=0.001)
    assert failures([case(1, 1, 0.009), case(1, 2, 0.0015)], label_drops=drops) == [
        "mean drop of label 2 is 0.00150, the budget is 0.001"
    ]


def test_the_limits_of_a_case_and_of_the_disagreement_follow_from_the_limit_of_the_label():
    drops = of_labels(necrosis=0.04)
    apart = [case(1, 1, agreement=0.89), case(1, 2, agreement=0.96)]
    assert failures(apart, label_drops=drops) == [
        "mean disagreement of label 2 with the baseline is 0.04000 over the cases with a reference, the limit is 0.03"
    ]
    single = [case(1, 1, 0.09), case(2, 1, -0.05)]
    assert failures(single, label_drops=drops) == [
        "case 1, label 1 drops by 0.09000, the limit for a single case is 0.08"
    ]


@given(st.floats(-0.05, 0.05), st.floats(-0.05, 0.05), st.floats(0.001, 0.2))
def test_the_same_limit_for_every_label_is_the_limit_for_all(first: float, second: float, drop: float):
    cases = [case(1, 1, first), case(1, 2, second)]
    both = tuple(LabelDrop(label, drop) for label in (1, 2))
    named = judge(cases, 1.0, AccuracyBudget(max_dice_drop=0.01, label_drops=both))
    plain = judge(cases, 1.0, AccuracyBudget(max_dice_drop=drop))
    assert (named.failures, named.excess) == (plain.failures, plain.excess)


def test_a_label_is_found_by_name_or_number():
    assert of_labels(necrosis=0.02) == (LabelDrop(1, 0.02),)
    numbered = AccuracyBudget(label_drops=(LabelDrop("2", 0.02),)).for_labels(LABELS)
    assert numbered.limits.label_drops == (LabelLimit(label=2, max_dice_drop=0.02),)


@pytest.mark.parametrize(
    ("drops", "words"),
    [
        (
            (LabelDrop("necrose", 0.02),),
            r"expected a label of the model \(1 necrosis, 2 oedema\), got 'necrose'.*necrosis",
        ),
        ((LabelDrop("3", 0.02),), "got '3'"),
        ((LabelDrop("necrosis", 0.02), LabelDrop("1", 0.03)), "expected one --max-dice-drop for label 1, got 2"),
        ((LabelDrop("necrosis", 0.0),), "expected --max-dice-drop between 0 and 1"),
        ((LabelDrop("necrosis", 0.6),), r"expected --max-dice-drop below 0\.5, got 0\.6"),
    ],
)
def test_a_limit_of_a_label_that_cannot_bind_is_refused(drops: tuple[LabelDrop, ...], words: str):
    with pytest.raises(UsageError, match=words):
        AccuracyBudget(label_drops=drops).for_labels(LABELS)


def test_a_label_is_not_bound_and_unbound():
    with pytest.raises(UsageError, match="label 1 has --unbound and --max-dice-drop; remove one of them"):
        AccuracyBudget(label_drops=(LabelDrop("necrosis", 0.02),), unbound=(1,)).for_labels(LABELS)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ((), (None, [])),
        (("0.01",), (0.01, [])),
        (("necrosis=0.02", "0.01", "2=0.03"), (0.01, [("necrosis", 0.02), ("2", 0.03)])),
    ],
)
def test_limits_are_read_as_typed(typed: tuple[str, ...], found: tuple[float | None, list[tuple[str, float]]]):
    assert drops_in(typed) == found


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("a lot",), r"expected --max-dice-drop as 0\.01 or LABEL=0\.02, got 'a lot'"),
        (("=0.02",), "got '=0.02'"),
        (("necrosis=",), "got 'necrosis='"),
        (("0.01", "0.02"), "expected one --max-dice-drop for all labels, got 2; write LABEL=DROP"),
        (("necrosis=0.02",), r"for all other labels beside necrosis=0\.02, got none; add one"),
    ],
)
def test_a_text_that_is_no_limit_is_refused(typed: tuple[str, ...], words: str):
    with pytest.raises(UsageError, match=words):
        drops_in(typed)


def test_python_names_labels_too():
    assert budget_of(0.01, 0.5, label_drops={"necrosis": 0.02}).label_drops == (LabelDrop("necrosis", 0.02),)


def test_a_small_label_is_bound_by_the_volume_on_which_the_masks_differ():
    """0.03 of 1 - Dice at 2 ml: 0.12 ml on average, 0.24 ml in a single case; its Dice drop binds nothing."""
    assert failures([small(1, 0.119, drop=0.4)]) == []
    assert failures([small(1, 0.13)]) == [
        "label 1 is small, and its masks differ by 1.08 times the volume that is allowed on average"
    ]
    assert failures([small(1, 0.25), *(small(number, 0.0) for number in range(2, 6))]) == [
        "case 1, label 1: the masks differ by 0.25 ml, the limit for a single case is 0.24 ml"
    ]


def test_one_small_head_is_enough_and_larger_heads_may_differ_in_proportion():
    assert failures([small(1, 0.1), small(2, 2.9, volume_ml=50.0, drop=0.4)]) == []
    assert judge([small(1, 0.1), small(2, 0.0, volume_ml=50.0)], 1.0, AccuracyBudget()).small == (1,)
    assert judge([small(1, 0.0, volume_ml=2.0)], 1.0, AccuracyBudget()).small == ()


def test_without_references_the_volume_is_bound_as_the_drop_is():
    cases = [small(1, 0.05, reference_volume_ml=None, drop=None, dice_baseline=None, dice_candidate=None)]
    assert failures(cases) == [
        "label 1 is small, and its masks differ by 1.25 times the volume that is allowed on average"
    ]


def test_a_label_that_the_user_names_is_bound_by_dice_however_small_it_is():
    drops = (LabelDrop(1, 0.02),)
    assert failures([small(1, 0.0, drop=0.03)], label_drops=drops) == [
        "mean drop of label 1 is 0.03000, the budget is 0.02"
    ]
    assert failures([small(1, 0.0, drop=0.03)], small_label_ml=0.0) == [
        "mean drop of label 1 is 0.03000, the budget is 0.01",
        "case 1, label 1 drops by 0.03000, the limit for a single case is 0.02",
    ]


def test_a_small_label_that_is_lost_is_refused():
    lost = small(1, 0.0, agreement=0.0, volume_baseline_ml=0.05, volume_candidate_ml=0.0, reference_volume_ml=0.05)
    measured = small(2, 0.0, hd95_baseline_mm=1.0, hd95_candidate_mm=None)
    assert failures([lost]) == []  # 0.05 ml, a twentieth of what would be allowed
    assert failures([lost, measured]) == ["HD95 of case 2, label 1 is lost with the label, the limit is 2 mm"]


def test_a_label_that_is_absent_from_a_head_is_not_small_for_that():
    absent = case(2, 1, reference_volume_ml=0.0, volume_baseline_ml=0.0, volume_candidate_ml=0.0, drop=None)
    assert judge([case(1, 1), absent], 1.0, AccuracyBudget()).small == ()


def test_the_proposed_limits_scale_all_that_were_stated():
    asked = AccuracyBudget(label_drops=(LabelDrop(1, 0.04),))
    cases = [case(1, 1, 0.06), case(1, 2, 0.005)]
    verdict = judge(cases, 1.0, asked)
    assert smallest_budget(verdict, asked) == (
        "limits that these cases meet: --max-dice-drop 0.01500 --max-dice-drop 1=0.06000"
    )
    assert judge(cases, 1.0, AccuracyBudget(max_dice_drop=0.015, label_drops=(LabelDrop(1, 0.06),))).met


def test_the_record_of_a_label_has_its_limit_its_volume_and_how_far_the_masks_differ():
    one, other = label_records([small(1, 0.1), case(1, 2, 0.005)], AccuracyBudget())
    assert (one.max_dice_drop, one.least_volume_ml) == (None, 1.0)
    assert (one.mean_apart_ml, one.worst_apart_ml, one.allowed_ml) == pytest.approx((0.1, 0.1, 0.12))
    assert (other.max_dice_drop, other.least_volume_ml, other.allowed_ml) == (0.01, 100.0, None)
