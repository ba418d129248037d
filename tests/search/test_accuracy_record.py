"""Every sentence of the record: what it claims follows from what was measured, and no more."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from evidences import accuracy_case, evidence
from msgspec.structs import replace
from tiny_package import tiny_manifest

from brain_edge.evaluation.cohort import CaseEntry, Cohort, CohortManifest, FileEntry, Split
from brain_edge.evaluation.evidence import AccuracyCase, Basis, Change, Isa, IsaRecord, Limits, Look, NodeKernel, spelt
from brain_edge.package import ModelPackage, WeightsStatus
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.search.evidence import evidence_of, trial_record
from brain_edge_conversion.search.journal import Entry
from brain_edge_conversion.search.judgement import Judgement, outcome_of
from brain_edge_conversion.search.space import Facts

CANDIDATE = "ca" * 32


def look(candidate: str = "ef" * 32, *, met: bool = False, **limits: Any) -> Look:
    """A judgement that came before, missed unless said otherwise."""
    return Look(candidate=candidate, limits=AccuracyBudget(**limits).limits, met=met)


def record(case: int, drop: float | None = 0.002, split: str = "test", **fields: Any) -> AccuracyCase:
    """A case of its own subject, with a reference unless its drop is None."""
    known: dict[str, Any] = {
        "label": 1,
        "dice_baseline": None if drop is None else 0.95,
        "dice_candidate": None if drop is None else 0.95 - drop,
        "agreement": 0.99,
        "hd95_baseline_mm": None if drop is None else 1.0,
        "hd95_candidate_mm": None if drop is None else 1.0,
        "reference_volume_ml": None if drop is None else 1000.0,
        "subject": case,
    }
    return accuracy_case(case, split=split, drop=drop, **(known | fields))


def judgement(
    records: list[AccuracyCase],
    header: dict[str, Any] | None = None,
    manifest: dict[str, Any] | None = None,
    **fields: Any,
) -> Judgement:
    image = FileEntry(source="x.nii.gz", sha256="ab" * 32)
    entry = CaseEntry(subject="Smith^John", split=Split.TEST, inputs={"T1": image})
    listed = CohortManifest(
        name="c", title="t", licence="CC0", citation="", sequences=("T1",), cases=(entry,), **(header or {})
    )
    budget = fields.pop("budget", AccuracyBudget())
    known: dict[str, Any] = {
        "isas": (),
        "searched_on": Split.VALIDATION,
        "seen_images": frozenset(),
        "candidate": CANDIDATE,
        "looks": (),
        "trials": (),
        "limits": (),
        "facts": Facts(changes=("performance preset",)),
        "versions": {},
        "kernels": {"jit_avx2_I8": 1.0},
        "threads": 2,
    }
    return Judgement(
        cohort=Cohort("c", Path("c.toml"), listed),
        budget=budget,
        records=records,
        share=1.0,
        change=Change.QUANTIZED,
        baseline=ModelPackage(Path("fp32"), tiny_manifest(**(manifest or {}))),
        **(known | fields),
    )


def test_with_twenty_nine_subjects_nothing_is_missing():
    made = evidence_of(judgement([record(case) for case in range(1, 30)]))
    assert made.warnings == ()
    assert "of at most 9.8% of all subjects" in made.next_patient
    assert made.labels[0].interval is not None
    assert made.basis is Basis.ACCURACY


def test_what_the_images_cannot_say_stands_first_among_the_warnings():
    limits = ("tiny was made for T1w as T1, but case(s) 2 have FLAIR",)
    assert evidence_of(judgement([record(case) for case in range(1, 30)], limits=limits)).warnings == limits


def test_what_a_search_knows_of_its_choice_stands_among_the_warnings():
    facts = Facts(changes=("fitted",), warnings=("The weights were fitted to one person.",))
    made = evidence_of(judgement([record(case) for case in range(1, 30)], facts=facts))
    assert made.warnings == facts.warnings


def test_with_twenty_eight_the_record_says_what_is_missing():
    made = evidence_of(judgement([record(case) for case in range(1, 29)]))
    assert made.warnings == (
        "28 test subject(s): to show that at most 10 % of all subjects exceed the limit, 29 are needed, 1 more (95 % "
        "confidence).",
    )


def test_two_cases_of_one_subject_are_one_witness():
    made = evidence_of(judgement([record(1, 0.001, subject=7), record(2, 0.004, subject=7)]))
    assert made.subjects == 1
    assert "none of these 1 test subject(s) does" in made.next_patient


@pytest.mark.parametrize(
    ("header", "split", "words"),
    [
        ({"demo": True}, "test", "accuracy: demonstration, one head"),
        ({"synthetic": True}, "test", "no statement about real heads"),
        ({}, "validation", "search data, no statement about new patients"),
    ],
)
def test_where_nobody_speaks_for_patients_nothing_is_said_about_the_next_one(
    header: dict[str, bool], split: str, words: str
):
    made = evidence_of(judgement([record(1, split=split)], header))
    assert words in made.statement
    assert made.next_patient == "No statement about new patients."
    assert made.demonstration is header.get("demo", False)


def test_without_references_it_is_agreement_and_not_accuracy():
    made = evidence_of(judgement([record(1, None), record(2, None)]))
    assert made.basis is Basis.AGREEMENT
    assert made.statement.startswith("mean disagreement with FP32 (no reference masks) at most 0.01000 per label")
    assert made.warnings[0] == "No case has a reference mask: the figures are agreement with FP32, not accuracy."
    assert "the worst disagreement with FP32 of at most" in made.next_patient


def test_cases_without_references_are_reported_apart():
    made = evidence_of(judgement([record(1), record(2, None, agreement=0.9), record(3, None, agreement=0.95)]))
    assert made.subjects == 1
    assert "2 case(s) without a reference mask are in none of the drops" in made.warnings[-1]
    assert "disagree with FP32 by at most 0.10000" in made.warnings[-1]


def test_a_drop_of_zero_with_other_masks_is_luck_and_said_to_be():
    many = [record(case, 0.0, agreement=0.1) for case in range(1, 30)]
    made = evidence_of(judgement(many))
    assert made.warnings == (
        "label 1: the masks of INT8 differ from those of FP32 by 0.90000 (1 - Dice), but Dice against the reference "
        "drops by only 0.00000. Errors cancel on these images; --max-disagreement limits them.",
    )
    assert evidence_of(judgement([record(case, 0.0, agreement=0.901) for case in range(1, 30)])).warnings == ()


def test_what_the_search_had_to_do_without_and_how_often_the_test_was_looked_at_are_said():
    looks = (look(), look(), look("12" * 32))
    made = evidence_of(judgement([record(1)], {"demo": True}, searched_on=Split.CALIBRATION, looks=looks))
    assert made.warnings[0].startswith("There is no validation split")
    assert made.warnings[1].startswith("2 other candidate(s) of this model were judged on these test images before")
    assert made.earlier_looks == looks
    assert "after 3 earlier look(s) of this model at some of these test images" in made.statement


def test_candidates_that_were_judged_on_the_same_subjects_share_the_confidence():
    """Three looks at 29 subjects, one of which had to pass: 5 % for all of them is 5 / 3 % for each."""
    cases, looks = [record(case) for case in range(1, 30)], (look("12" * 32), look("34" * 32))
    made = evidence_of(judgement(cases, looks=looks))
    assert made.next_patient == (
        "With 95% confidence (for this and 2 other candidate(s) together), the worst drop of at most 13.2% of all "
        "subjects of the same population exceeds 0.02: none of these 29 test subject(s) does (exact binomial)."
    )
    asked = AccuracyBudget(confidence=0.95)
    assert judgement(cases, budget=asked).failures == ()
    assert judgement(cases, budget=asked, looks=looks).failures == (
        "--confidence 0.95 for this and 2 other candidate(s) needs 39 test subjects with a label that the baseline "
        "finds well enough to lose; 29 were found",
    )


def test_a_budget_that_was_chosen_after_a_look_is_said_to_be():
    cases, tighter = [record(case) for case in range(1, 30)], look(CANDIDATE, max_dice_drop=0.001)
    made = evidence_of(judgement(cases, looks=(tighter,)))
    assert made.warnings == (
        "This candidate was judged on these test images before, under another budget (mean drop 0.001, single case "
        "0.002), which it missed. A budget that is chosen after a look describes these images; meeting it is no test.",
    )
    assert made.statement.endswith("29 subject(s), after 1 earlier look(s) of this model at some of these test images")
    assert "of at most 9.8% of all subjects" in made.next_patient, "no other candidate was there to be chosen from"
    again = evidence_of(judgement(cases, looks=(look(CANDIDATE),)))
    assert "under the same budget (mean drop 0.01, single case 0.02), which it missed" in again.warnings[0]


def test_labels_that_nothing_is_promised_of_are_named_in_the_statement():
    both = [record(1), record(1, 0.9, label=2), record(2), record(2, 0.9, label=2)]
    made = evidence_of(judgement(both, budget=AccuracyBudget(unbound=(2,))))
    assert made.statement.startswith(
        "mean Dice drop at most 0.00200 for label(s) 1 (no limit for label(s) 2) and 0.00200 in a single "
    )
    assert "per label" not in made.statement
    assert "none of these 2 test subject(s) does" in made.next_patient, "of the bound label"
    assert "label 2 bound by nothing" in made.bounds


def test_a_patient_who_is_lost_stands_in_the_statement():
    """99 without a loss and one who loses nearly all, allowed by --max-case-drop."""
    lost = record(100, 0.9, agreement=0.1, hd95_candidate_mm=1.0)
    made = evidence_of(
        judgement(
            [*(record(case, 0.0, agreement=1.0) for case in range(1, 100)), lost],
            budget=AccuracyBudget(max_case_drop=0.92),
        )
    )
    assert "and 0.90000 in a single case" in made.statement
    assert "of a single case 0.92" in made.bounds


def test_every_limit_and_exclusion_stands_in_the_bounds():
    foreign, without = record(3, 0.0, dice_baseline=0.3), record(4, None)
    asked = AccuracyBudget(confidence=0.5, max_exceedance=0.4, max_hd95_increase_mm=1.5, unbound=(2,))
    absent = record(1, None, label=3, agreement=None, reference_volume_ml=0.0)
    third = record(2, 0.0, label=3)
    cases = [record(1), record(2), foreign, without, record(1, 0.5, label=2), absent, third]
    made = evidence_of(judgement(cases, budget=asked))
    assert made.bounds == (
        "mean drop of a label at most 0.01; of a single case 0.02; mean disagreement 0.03; HD95 grows by at most "
        "1.5 mm; at least 50% in INT8 (100.0% are); with a confidence of 0.5 at most 40% of all subjects exceed the "
        "limit for a single case (2 subjects or more); label 2 bound by nothing; case(s) 4 without a reference bound "
        "by their disagreement only, 0.06 in each; false positives of a label up to 0.02 of its usual volume; case(s) "
        "3 lower no mean, because the baseline finds too little of a label there"
    )


@pytest.mark.parametrize(
    ("volume_ml", "dice", "told"),
    [(1200.0, 0.79, True), (1200.0, 0.82, False), (12.0, 0.47, True), (12.0, 0.48, False)],
)
def test_references_of_somebody_else_witness_nothing_and_are_counted_aloud(volume_ml: float, dice: float, told: bool):
    """27 of 29 references are of other people: these are no 27 subjects who have lost nothing.

    Of lesions Dice differs from patient to patient, so that less of the best one is enough.
    """
    own = [record(case, 0.006, reference_volume_ml=volume_ml) for case in (1, 2)]
    foreign = [record(case, 0.0001, dice_baseline=dice, reference_volume_ml=volume_ml) for case in range(3, 30)]
    made = judgement([*own, *foreign], budget=AccuracyBudget(confidence=0.95))
    written = evidence_of(made)
    assert made.failures == (
        (
            "--confidence 0.95 needs 29 test subjects with a label that the baseline finds well enough to lose; "
            "2 were found",
        )
        if told
        else ()
    )
    assert written.subjects == (2 if told else 29)
    assert written.labels[0].little_to_lose == (27 if told else 0)
    assert written.labels[0].mean_drop == pytest.approx(0.006 if told else (2 * 0.006 + 27 * 0.0001) / 29)
    assert written.labels[0].lowest_dice_baseline == dice
    words = [line for line in written.warnings if "finds too little" in line]
    assert bool(words) is told
    if words:
        assert words[0].startswith("label 1: FP32 itself finds too little of the label in case(s) 3, 4, 5,")
        assert f"(Dice at most {dice:.5f}, its best is 0.95000); the reference may be another patient's." in words[0]


def test_a_loss_beyond_the_limit_is_told_of_whoever_has_it():
    """Of a case that witnesses nothing too: the report of the refusal does not say that nobody exceeds the limit."""
    made = judgement([record(1), record(2, 0.3, dice_baseline=0.4)])
    assert made.failures
    assert evidence_of(made).next_patient == (
        "The worst drop of 1 of 2 test subject(s) exceeds the limit for a single case (0.02)."
    )


def test_a_label_that_int8_alone_has_lost_is_named():
    made = evidence_of(judgement([record(1, hd95_candidate_mm=None), record(2)]))
    assert made.worst_hd95_increase_mm is None
    assert "INT8 loses a label that FP32 finds in case(s) 1; HD95 is undefined." in made.warnings
    assert made.labels[0].mean_hd95_increase_mm == 0.0


def test_a_budget_missed_under_older_instructions_is_missed():
    isa = IsaRecord(
        isa=Isa.AVX2, verified=True, reason="mean drop of label 1 is 0.02000, the budget is 0.01", met=False
    )
    assert judgement([record(1)], isas=(isa,)).failures == (f"under AVX2: {isa.reason}",)
    unknown = IsaRecord(isa=Isa.AVX2, verified=False, reason="not verified: this CPU is aarch64, not x86")
    blind = judgement([record(1)], isas=(unknown,))
    assert blind.failures == ()
    assert evidence_of(blind).warnings[-1] == "AVX2: not verified: this CPU is aarch64, not x86"


def test_what_ran_newer_instructions_all_the_same_is_said():
    """Convolutions that were held to AVX2 do not make the process one of an AVX2 CPU."""
    ran = "convolutions under AVX2, norms under AVX-512"
    nodes = (NodeKernel("Convolution", "jit_avx2_I8", 9), NodeKernel("MVN", "jit_avx512_i8", 27))
    held = IsaRecord(
        isa=Isa.AVX2, verified=True, met=True, worst_mean_drop=0.002, int8_share=0.968, nodes=nodes, ran=ran
    )
    made = evidence_of(judgement([record(1)], isas=(held,)))
    assert made.statement.endswith(
        "; measured again for AVX2: at most 0.00200, 96.8% of the multiply-accumulates in INT8 there "
        "(convolutions under AVX2, norms under AVX-512)"
    )
    assert made.warnings[-1].startswith(f"AVX2: {ran}. OpenVINO's own kernels use every instruction set")
    assert "of a phantom, not of a patient" in made.warnings[-1]
    older = replace(held, nodes=nodes[:1], ran="convolutions under AVX2")
    assert not any("AVX2" in words for words in evidence_of(judgement([record(1)], isas=(older,))).warnings)


def test_the_smallest_budget_is_one_that_older_instructions_meet_too():
    isa = IsaRecord(isa=Isa.AVX2, verified=True, reason="missed", worst_mean_drop=0.02, worst_case_drop=0.03)
    made = judgement([record(1, 0.015, split="validation")], isas=(isa,))
    assert made.smallest_budget == "smallest --max-dice-drop that these cases meet: 0.02000"
    assert judgement([record(1, 0.002)]).smallest_budget == ""
    stated = AccuracyBudget(max_dice_drop=0.01, max_case_drop=0.015)
    assert judgement([record(1, 0.012, split="validation")], isas=(isa,), budget=stated).smallest_budget == (
        "smallest limits that these cases meet: --max-dice-drop 0.02000 --max-case-drop 0.03000"
    )


def test_a_budget_that_the_test_cases_meet_is_not_named_without_what_taking_it_would_be():
    assert judgement([record(1, 0.015)]).smallest_budget.startswith(
        "smallest --max-dice-drop that these cases meet: 0.01500; a budget set now is chosen after a look at the test "
        "images, and the next package records this"
    )


def test_subjects_in_whom_no_label_occurs_do_not_count_for_the_confidence():
    nowhere = record(3, None, agreement=None, reference_volume_ml=0.0)
    sure = judgement([record(1), record(2), nowhere], budget=AccuracyBudget(confidence=0.75, max_exceedance=0.4))
    assert sure.failures == (
        "--confidence 0.75 needs 3 test subjects with a label that the baseline finds well enough to lose; 2 were "
        "found",
    )
    assert judgement([record(case) for case in (1, 2, 3)], budget=sure.budget).failures == ()


def test_the_record_names_nobody():
    assert "Smith" not in repr(evidence_of(judgement([record(1)])))


@pytest.mark.parametrize(("verified", "met"), [(True, False), (False, True)])
def test_a_trial_that_older_instructions_fail_is_not_within_the_budget(verified: bool, met: bool):
    """What could not be measured there decides nothing; what was measured decides with its excess and its share."""
    isa = IsaRecord(isa=Isa.AVX2, verified=verified, reason="missed", met=False, excess=3.5 if verified else None)
    entry = Entry(choice=(1,), records=(record(1, 0.001),), int8_share=1.0, isas=(isa,))
    found = outcome_of(entry, AccuracyBudget())
    assert found.met is met
    assert found.excess == pytest.approx(3.5 if verified else max(0.1, found.verdict.excess))


def test_a_label_that_is_lost_is_infinitely_far_off_and_still_a_number():
    """JSON has no infinity, and the journal is JSON."""
    lost = Entry(choice=(1,), records=(record(1, hd95_candidate_mm=None),), int8_share=1.0)
    found = outcome_of(lost, AccuracyBudget())
    assert not found.met
    assert 1e6 < found.excess < math.inf


def test_every_limit_and_every_exclusion_is_named():
    asked = AccuracyBudget(
        max_dice_drop=0.02, max_case_drop=0.03, max_hd95_increase_mm=4.0, min_int8_share=0.7, unbound=(2,)
    )
    made = evidence_of(judgement([record(1), record(1, label=2)], budget=asked))
    assert made.bounds == (
        "mean drop of a label at most 0.02; of a single case 0.03; mean disagreement 0.06; HD95 grows by at most 4 mm; "
        "at least 70% in INT8 (100.0% are); label 2 bound by nothing"
    )
    assert made.limits == Limits(
        max_dice_drop=0.02,
        max_case_drop=0.03,
        max_disagreement=0.06,
        max_hd95_increase_mm=4.0,
        min_int8_share=0.7,
        unbound=(2,),
        small_label_ml=2.0,
    )
    assert "label 2 has no limit, as requested: nothing is promised about it." in made.warnings


def test_images_that_were_seen_and_what_the_baseline_cost_itself_are_kept():
    before = evidence(changes=("half the windows",), change=Change.TUNED)
    made = evidence_of(
        judgement([record(1)], manifest={"evidence": spelt(before)}, seen_images=frozenset({"cd" * 32, "ab" * 32}))
    )
    assert made.seen_images == ("ab" * 32, "cd" * 32)
    assert made.before == before
    assert made.chain == (made, before)
    assert any(line.startswith("The baseline is itself the result of") for line in made.warnings)


def test_weights_that_were_fit_for_testing_are_named_before_their_figures():
    fit = {"weights_status": WeightsStatus.FIT_FOR_TESTING, "fitted_on": 3}
    made = evidence_of(judgement([record(1)], manifest=fit))
    assert made.statement.startswith("weights fit for testing on 3 cases, not for use: mean Dice drop at most")


@pytest.mark.parametrize(("dice", "said"), [(0.45, True), (0.55, False)])
def test_a_baseline_that_finds_little_of_a_label_is_named(dice: float, said: bool):
    made = evidence_of(judgement([record(1, dice_baseline=dice, dice_candidate=dice - 0.002)]))
    assert any("a small drop of INT8 is weak evidence" in line for line in made.warnings) is said


def test_a_case_in_which_nothing_could_be_lost_is_named_and_no_witness():
    made = evidence_of(judgement([record(1), record(2, 0.0, dice_baseline=0.0, dice_candidate=0.0)]))
    assert made.subjects == 1
    (label,) = made.labels
    assert (label.little_to_lose, label.lowest_dice_baseline, label.mean_drop) == (1, 0.0, pytest.approx(0.002))
    assert any("FP32 itself finds too little of the label in case(s) 2 (" in w for w in made.warnings)


@pytest.mark.parametrize(("drop", "met"), [(0.001, True), (0.05, False)])
def test_a_trial_is_written_down_as_it_was_judged(drop: float, met: bool):
    entry = Entry(choice=(1,), records=(record(1, drop),), int8_share=1.0)
    written = trial_record(entry, Facts(changes=("x",)), outcome_of(entry, AccuracyBudget()))
    assert written.met is met
    assert written.worst_mean_drop == pytest.approx(drop)
    assert not trial_record(entry, Facts(changes=("x",)), None).met
