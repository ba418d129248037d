"""The evidence that a package carries: what was measured, and every sentence on what that means. Pure."""

from __future__ import annotations

import math
from statistics import fmean
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.evaluation.cohort import Split
from brain_edge.evaluation.evidence import AccuracyCase, Basis, Change, Evidence, LabelRecord, TrialRecord, evidence_in
from brain_edge_conversion.budget.budget import baseline_dice, has_reference, nothing_to_lose
from brain_edge_conversion.budget.kernels import newer_than_avx2
from brain_edge_conversion.budget.statement import speaks_of_patients, statement
from brain_edge_conversion.budget.subjects import (
    USUAL_CONFIDENCE,
    USUAL_EXCEEDANCE,
    mean_interval,
    mean_over_subjects,
    next_patient,
    subjects_needed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from brain_edge.evaluation.evidence import IsaRecord
    from brain_edge_conversion.search.journal import Choice, Entry
    from brain_edge_conversion.search.judgement import Judgement, Outcome
    from brain_edge_conversion.search.space import Facts

HIDDEN: Final = 10
"""Times the limit on the mean drop: where the masks are further apart than that, a small drop is luck."""
LOW_DICE: Final = 0.5
"""Of the baseline itself: below, a small drop says little of a label."""


def evidence_of(judgement: Judgement) -> Evidence:
    """Everything as the manifest of a package carries it: numbers of cases and people, no names.

    It is returned as it will be read back, since a digest is taken of it: a limit given as 1 is read as 1.0.
    """
    return msgspec.json.decode(msgspec.json.encode(_evidence(judgement)), type=Evidence)


def _evidence(judgement: Judgement) -> Evidence:
    verdict, facts = judgement.verdict, judgement.facts
    increase, subjects = verdict.worst_hd95_increase_mm, len(judgement.worst_by_subject)
    return Evidence(
        change=judgement.change,
        changes=facts.changes,
        baseline=judgement.baseline.digest,
        before=evidence_in(judgement.baseline.manifest),
        graphs_from=facts.graphs_from,
        bounds=_bounds(judgement),
        statement="; ".join((_statement(judgement, subjects), *map(_measured_again, _verified(judgement)))),
        limits=judgement.budget.limits,
        basis=Basis.ACCURACY if verdict.by_reference else Basis.AGREEMENT,
        worst_mean_drop=verdict.worst_mean_drop,
        worst_case_drop=verdict.worst_case_drop,
        worst_mean_disagreement=verdict.worst_mean_disagreement,
        worst_hd95_increase_mm=None if increase is None or math.isinf(increase) else increase,
        int8_share=judgement.share,
        operations_baseline=facts.operations_baseline,
        operations_candidate=facts.operations_candidate,
        cohort_sha256=judgement.cohort.sha256,
        demonstration=judgement.cohort.manifest.demo,
        searched_on=judgement.searched_on,
        seen_images=tuple(sorted(judgement.seen_images)),
        subjects=subjects,
        next_patient=_next_patient(judgement),
        earlier_candidates=judgement.earlier,
        warnings=tuple(_warnings(judgement)),
        cases=tuple(judgement.records),
        labels=label_records(judgement.records),
        isas=tuple(judgement.isas),
        trials=tuple(judgement.trials),
        float_layers=facts.float_layers,
        cost_factors=dict(facts.cost_factors),
        kernels=dict(judgement.kernels),
        threads=judgement.threads,
    )


def _statement(judgement: Judgement, subjects: int) -> str:
    baseline, mark = judgement.change.baseline, judgement.baseline.manifest.mark
    return statement(judgement.verdict, judgement.cohort, judgement.split, subjects, baseline, mark)


def _verified(judgement: Judgement) -> list[IsaRecord]:
    return [isa for isa in judgement.isas if isa.verified]


def _measured_again(isa: IsaRecord) -> str:
    share = f", {isa.int8_share:.1%} of the multiply-adds in INT8 there" if isa.int8_share else ""
    return f"measured again for {isa.isa}: at most {isa.worst_mean_drop or 0.0:z.5f}{share} ({isa.ran})"


def _bounds(judgement: Judgement) -> str:
    """Every limit, share and exclusion, in words."""
    limits, budget = judgement.budget.limits, judgement.budget
    hd95 = (
        "2 mm or a voxel's diagonal" if limits.max_hd95_increase_mm is None else f"{limits.max_hd95_increase_mm:g} mm"
    )
    words = [
        f"mean drop of a label at most {limits.max_dice_drop:g}",
        f"of a single case {limits.max_case_drop:g}",
        f"mean disagreement {budget.disagreement_limit:g}",
        f"HD95 grows by at most {hd95}",
    ]
    if judgement.change is Change.QUANTIZED:
        words.append(f"at least {limits.min_int8_share:.0%} in INT8 ({judgement.share:.1%} are)")
    if budget.confidence is not None:
        words.append(f"{budget.subjects_needed} subjects for a confidence of {budget.confidence:g}")
    words += [f"label {label} bound by nothing" for label in limits.unbound]
    return "; ".join(words)


def trial_record(entry: Entry[Choice], facts: Facts, outcome: Outcome | None) -> TrialRecord:
    """One trial, in the words of the manifest.

    Args:
        entry: the trial.
        facts: what is known of it beside its masks.
        outcome: against the budget; None where it could not be run.
    """
    return TrialRecord(
        changes=facts.changes,
        reverted=facts.reverted,
        operations=entry.operations,
        int8_share=entry.int8_share if entry.layers else None,
        worst_mean_drop=None if outcome is None else outcome.verdict.worst_mean_drop,
        worst_case_drop=None if outcome is None else outcome.verdict.worst_case_drop,
        excess=None if outcome is None else outcome.excess,
        met=outcome is not None and outcome.met,
        problem=entry.problem,
    )


def label_records(records: Sequence[AccuracyCase]) -> tuple[LabelRecord, ...]:
    """Per label over the cases that decide: those with a reference, or all where none has one."""
    by_reference = any(has_reference(record) for record in records)
    judged = [record for record in records if has_reference(record) == by_reference]
    labels = sorted({record.label for record in judged})
    return tuple(_label([record for record in judged if record.label == label]) for label in labels)


def _label(records: Sequence[AccuracyCase]) -> LabelRecord:
    present = [record for record in records if record.drop is not None or record.agreement is not None]
    lost = [(each.subject, each.drop) for each in present if each.drop is not None and not nothing_to_lose(each)]
    apart = [(each.subject, 1.0 - each.agreement) for each in present if each.agreement is not None]
    # a label that INT8 alone has lost is no number; it is a warning of its own
    increases = [value for record in present if (value := record.hd95_increase_mm) is not None and value < math.inf]
    return LabelRecord(
        label=records[0].label,
        cases=len(present),
        absent=len(records) - len(present),
        nothing_to_lose=sum(map(nothing_to_lose, present)),
        lowest_dice_baseline=min(
            (each.dice_baseline for each in present if each.dice_baseline is not None), default=None
        ),
        mean_drop=mean_over_subjects(lost) if lost else None,
        worst_drop=max((drop for _, drop in lost), default=None),
        mean_disagreement=mean_over_subjects(apart) if apart else None,
        worst_disagreement=max((drop for _, drop in apart), default=None),
        mean_hd95_increase_mm=_mean(increases),
        false_positive_ml=sum(record.volume_candidate_ml for record in present if record.reference_volume_ml == 0),
        interval=mean_interval(lost),
        lesions=_total([record.lesions for record in present]),
        found_baseline=_total([record.found_baseline for record in present]),
        found_candidate=_total([record.found_candidate for record in present]),
    )


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _next_patient(judgement: Judgement) -> str:
    if not speaks_of_patients(judgement.cohort, judgement.split):
        return "No statement about new patients."
    what = "drop" if judgement.verdict.by_reference else f"disagreement with {judgement.change.baseline}"
    return next_patient(judgement.worst_by_subject, judgement.budget.case_limit, what)


def _warnings(judgement: Judgement) -> Iterator[str]:
    """What the figures do not say."""
    yield from _about_the_data(judgement)
    yield from _about_labels(judgement)
    for isa in judgement.isas:
        if not isa.verified:
            yield f"{isa.isa}: {isa.reason}"
        elif newer_than_avx2(node.kernel for node in isa.nodes):
            yield (
                f"{isa.isa}: {isa.ran}. OpenVINO's own kernels take all that the CPU has, so that a CPU with {isa.isa} "
                "alone was imitated in part; `brain-edge verify` compares there, on a phantom, which is no patient."
            )


def _about_the_data(judgement: Judgement) -> Iterator[str]:
    baseline = judgement.change.baseline
    if not judgement.verdict.by_reference:
        yield f"No case has a reference mask: the figures are agreement with {baseline}, not accuracy."
    before = evidence_in(judgement.baseline.manifest)
    if before is not None:
        yield (
            f"The baseline is the result of {before.change.noun} itself; what that cost "
            "stands in `before`, and it comes on top of the figures here."
        )
    if judgement.searched_on is Split.CALIBRATION:
        also = " that the ranges were taken from" if judgement.change is Change.QUANTIZED else ""
        yield f"There is no validation split: trials were judged on the calibration images{also}."
    if judgement.earlier:
        yield (
            f"{judgement.earlier} other candidate(s) were judged on these test images before, as far as the folder of "
            "the package knows; each look makes the figures less new."
        )
    subjects = len(judgement.worst_by_subject)
    needed = subjects_needed(USUAL_CONFIDENCE, USUAL_EXCEEDANCE)
    if speaks_of_patients(judgement.cohort, judgement.split) and subjects < needed:
        yield (
            f"{subjects} test subject(s): that at most 10 % of all subjects exceed the limit needs {needed}, "
            f"{needed - subjects} more (95 % confidence)."
        )


def _about_labels(judgement: Judgement) -> Iterator[str]:
    baseline, candidate = judgement.change.baseline, judgement.change.candidate
    without = [record for record in judgement.records if not has_reference(record)]
    if judgement.verdict.by_reference and without:
        worst = max((1.0 - record.agreement for record in without if record.agreement is not None), default=0.0)
        yield (
            f"{len(_numbers(without))} case(s) without a reference mask are in none of the drops; their masks "
            f"disagree with {baseline} by {worst:.5f} at most."
        )
    blind = [record for record in judgement.records if nothing_to_lose(record)]
    for number in sorted({record.label for record in blind}):
        cases = ", ".join(map(str, _numbers(record for record in blind if record.label == number)))
        yield (
            f"label {number}: {baseline} itself has nothing right in case(s) {cases}, so that nothing could be lost: "
            "they are in no drop and witness nothing."
        )
    for number in judgement.budget.unbound:
        yield f"label {number} is bound by no limit, as was asked: nothing is promised of it."
    for number, known in baseline_dice(judgement.records).items():
        if fmean(known) < LOW_DICE:
            yield (
                f"label {number}: {baseline} itself has a mean Dice of {fmean(known):.5f} with the references; that "
                f"{candidate} loses little of it says little."
            )
    for label in label_records(judgement.records) if judgement.verdict.by_reference else ():
        apart = label.mean_disagreement
        if apart is not None and apart > HIDDEN * judgement.budget.max_dice_drop:
            yield (
                f"label {label.label}: the masks of {candidate} differ from those of {baseline} by {apart:.5f} "
                f"(1 - Dice) where Dice against the reference drops by {label.mean_drop or 0.0:.5f}: errors that "
                "cancel, on these images; --max-disagreement bounds them."
            )
    lost = [record for record in judgement.records if record.hd95_increase_mm == math.inf]
    if lost:
        yield (
            f"{candidate} loses a label that {baseline} finds in case(s) {', '.join(map(str, _numbers(lost)))}; HD95 "
            "is undefined."
        )


def _numbers(records: Iterable[AccuracyCase]) -> list[int]:
    return sorted({record.case for record in records})
