"""Evidence that a package carries: the measured figures, and every sentence about their meaning. Pure functions."""

from __future__ import annotations

import math
from statistics import fmean
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.evaluation.cohort import Split
from brain_edge.evaluation.evidence import AccuracyCase, Basis, Change, Evidence, LabelRecord, TrialRecord, evidence_in
from brain_edge.machine.json import decode_json
from brain_edge_conversion.budget.budget import USUAL_SPREAD, baseline_dice, deciding, has_reference, losses, telling
from brain_edge_conversion.budget.kernels import newer_than_avx2
from brain_edge_conversion.budget.label_limits import apart_ml, least_volumes_ml
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

    from brain_edge.evaluation.evidence import IsaRecord, Limits
    from brain_edge_conversion.budget.budget import AccuracyBudget
    from brain_edge_conversion.search.journal import Choice, Entry
    from brain_edge_conversion.search.judgement import Judgement, Outcome
    from brain_edge_conversion.search.space import Facts

HIDDEN: Final = 10
"""Multiple of the mean drop limit; if the masks disagree by more, a small drop is luck."""
LOW_DICE: Final = 0.5
"""Mean Dice of the baseline below which a small drop of a label is weak evidence."""


def evidence_of(judgement: Judgement) -> Evidence:
    """Return the evidence for a package's manifest: numbers of cases and people, no names.

    The evidence is returned as it will be read back (a limit of 1 as 1.0), because a digest is computed from it.
    """
    return decode_json(msgspec.json.encode(_evidence(judgement)), Evidence)


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
        statement="; ".join((_statement(judgement), *map(_measured_again, _verified(judgement)))),
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
        earlier_looks=judgement.looks,
        warnings=tuple(_warnings(judgement)),
        cases=tuple(judgement.records),
        labels=label_records(judgement.records, judgement.budget),
        isas=tuple(judgement.isas),
        trials=tuple(judgement.trials),
        float_layers=facts.float_layers,
        cost_factors=dict(facts.cost_factors),
        kernels=dict(judgement.kernels),
        threads=judgement.threads,
    )


def _statement(judgement: Judgement) -> str:
    return statement(_seen(judgement), judgement.cohort, judgement.split, judgement.baseline.manifest.mark)


def _seen(judgement: Judgement) -> str:
    """Return the figures in words, with their labels, the number of subjects and the earlier looks."""
    verdict, unbound = judgement.verdict, judgement.budget.unbound
    what = (
        "Dice drop" if verdict.by_reference else f"disagreement with {judgement.change.baseline} (no reference masks)"
    )
    by_dice = sorted({record.label for record in judgement.bound} - {*verdict.small})
    if not by_dice:
        return _seen_of_small(judgement)
    of = f"for label(s) {_listed(by_dice)}" if unbound or verdict.small else "per label"
    if unbound:
        of += f" (no limit for label(s) {_listed(unbound)})"
    words = (
        f"mean {what} at most {verdict.worst_mean_drop:.5f} {of} and {verdict.worst_case_drop:.5f} in a single case, "
        f"over the {judgement.split} cases of {len(judgement.worst_by_subject)} subject(s)"
    )
    if verdict.small:
        words += f"; {_seen_of_small(judgement)}"
    if not judgement.looks:
        return words
    return f"{words}, after {len(judgement.looks)} earlier look(s) of this model at some of these test images"


def _seen_of_small(judgement: Judgement) -> str:
    """Return in words how far the masks of small labels differ, in ml, with the least volume of each."""
    own = [label for label in label_records(judgement.records, judgement.budget) if label.allowed_ml is not None]
    words = ", ".join(
        f"{label.label} ({label.least_volume_ml or 0.0:.2g} ml in a head) {label.mean_apart_ml or 0.0:.2g} ml, "
        f"{label.worst_apart_ml or 0.0:.2g} ml in a single case"
        for label in own
    )
    return f"mean volume on which the masks of a small label differ: {words}"


def _verified(judgement: Judgement) -> list[IsaRecord]:
    return [isa for isa in judgement.isas if isa.verified]


def _measured_again(isa: IsaRecord) -> str:
    share = f", {isa.int8_share:.1%} of the multiply-accumulates in INT8 there" if isa.int8_share else ""
    return f"measured again for {isa.isa}: at most {isa.worst_mean_drop or 0.0:z.5f}{share} ({isa.ran})"


def _bounds(judgement: Judgement) -> str:
    """Return every limit, fraction and exclusion in words."""
    limits, budget = judgement.budget.limits, judgement.budget
    words = [
        f"mean drop of a label at most {limits.max_dice_drop:g}",
        f"of a single case {limits.max_case_drop:g}",
        f"mean disagreement {budget.disagreement_limit:g}",
        f"HD95 grows by at most {_hd95_limit(limits)}",
    ]
    if judgement.change is Change.QUANTIZED:
        words.append(f"at least {limits.min_int8_share:.0%} in INT8 ({judgement.share:.1%} are)")
    if budget.confidence is not None:
        words.append(
            f"with a confidence of {budget.confidence:g} at most {budget.exceedance_limit:.0%} of all subjects exceed "
            f"the limit for a single case ({budget.subjects_needed} subjects or more)"
        )
    words += [f"label {each.label}: mean drop at most {each.max_dice_drop:g}" for each in limits.label_drops]
    if judgement.verdict.small:
        words.append(_bounds_in_ml(judgement))
    words += [f"label {label} bound by nothing" for label in limits.unbound]
    without = _numbers(record for record in judgement.records if not has_reference(record))
    if judgement.verdict.by_reference and without:
        single = USUAL_SPREAD * budget.disagreement_limit
        words.append(
            f"case(s) {_listed(without)} without a reference bound by their disagreement only, {single:g} in each"
        )
    if any(record.reference_volume_ml == 0 for record in judgement.bound):
        words.append(f"false positives of a label up to {limits.max_case_drop:g} of its usual volume")
    if silent := _numbers(_silent(judgement)):
        words.append(f"case(s) {_listed(silent)} lower no mean, because the baseline finds too little of a label there")
    return "; ".join(words)


def _bounds_in_ml(judgement: Judgement) -> str:
    budget, verdict = judgement.budget, judgement.verdict
    limit = budget.disagreement_limit
    share = 2 * (limit if verdict.by_reference else min(limit, budget.max_dice_drop))
    return (
        f"label(s) {_listed(verdict.small)} below {budget.small_label_ml:g} ml in a judged head bound by agreement in "
        f"ml, not by Dice: the masks differ by at most {share * budget.small_label_ml:.2g} ml on average (in a larger "
        f"head by {share:.2g} of its volume), by twice as much in a single case"
    )


def _hd95_limit(limits: Limits) -> str:
    usual = limits.max_hd95_increase_mm is None
    return "2 mm or a voxel's diagonal" if usual else f"{limits.max_hd95_increase_mm:g} mm"


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _silent(judgement: Judgement) -> list[AccuracyCase]:
    """Return the records of bound labels in which the baseline finds too little to lose (see `telling`)."""
    drops = losses([case for case in judgement.bound if case.label not in judgement.verdict.small])
    return [case for case in drops if case not in telling(drops, judgement.budget)]


def trial_record(entry: Entry[Choice], facts: Facts, outcome: Outcome | None) -> TrialRecord:
    """Return the record of one trial for the manifest.

    Args:
        entry: trial as measured.
        facts: facts about the trial other than its masks.
        outcome: outcome against the budget; None if the trial could not run.
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


def label_records(records: Sequence[AccuracyCase], budget: AccuracyBudget) -> tuple[LabelRecord, ...]:
    """Return one record per label over the deciding cases: those with a reference, or all if none has one."""
    by_reference = any(has_reference(record) for record in records)
    judged = [record for record in records if has_reference(record) == by_reference]
    labels = sorted({record.label for record in judged})
    small = budget.small_labels(records)
    found = [_label([record for record in judged if record.label == label], budget) for label in labels]
    return tuple(
        _with_volumes(
            each, [record for record in judged if record.label == each.label], budget, by_ml=each.label in small
        )
        for each in found
    )


def _with_volumes(
    label: LabelRecord, records: Sequence[AccuracyCase], budget: AccuracyBudget, *, by_ml: bool
) -> LabelRecord:
    """Add the limit of a label, its least volume, and the volumes on which the masks differ."""
    apart = {each: differ_ml for each in records if (differ_ml := apart_ml(each)) is not None}
    by_reference = any(has_reference(record) for record in records)
    allowed = [(each.subject, budget.allowed_ml(each, by_reference=by_reference)) for each in apart]
    is_bound = label.label not in budget.unbound
    return msgspec.structs.replace(
        label,
        max_dice_drop=budget.drop_limit(label.label) if is_bound and not by_ml else None,
        least_volume_ml=least_volumes_ml(records).get(label.label),
        mean_apart_ml=mean_over_subjects([(each.subject, ml) for each, ml in apart.items()]) if apart else None,
        worst_apart_ml=max(apart.values(), default=None),
        allowed_ml=mean_over_subjects(allowed) if allowed and by_ml else None,
    )


def _label(records: Sequence[AccuracyCase], budget: AccuracyBudget) -> LabelRecord:
    present = [record for record in records if record.drop is not None or record.agreement is not None]
    drops = {each: each.drop for each in present if each.drop is not None}
    lost = deciding(drops, budget).get(records[0].label, [])
    apart = [(each.subject, 1.0 - each.agreement) for each in present if each.agreement is not None]
    # a label that the candidate has lost has no finite HD95; a warning of its own reports it
    increases = [value for record in present if (value := record.hd95_increase_mm) is not None and value < math.inf]
    return LabelRecord(
        label=records[0].label,
        cases=len(present),
        absent=len(records) - len(present),
        little_to_lose=len(drops) - len(telling(drops, budget)),
        lowest_dice_baseline=min(
            (each.dice_baseline for each in present if each.dice_baseline is not None), default=None
        ),
        mean_drop=mean_over_subjects(lost) if lost else None,
        worst_drop=max(drops.values(), default=None),
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
    if judgement.budget.label_drops or judgement.verdict.small:
        what += ", on a scale on which every label has the limit for all labels,"
    return next_patient(judgement.worst_by_subject, judgement.budget.case_limit, what, judgement.other_candidates)


def _warnings(judgement: Judgement) -> Iterator[str]:
    """Yield warnings about the limits of the figures."""
    yield from judgement.limits
    yield from _about_the_data(judgement)
    yield from judgement.facts.warnings
    yield from _about_labels(judgement)
    for isa in judgement.isas:
        if not isa.verified:
            yield f"{isa.isa}: {isa.reason}"
        elif newer_than_avx2(node.kernel for node in isa.nodes):
            yield (
                f"{isa.isa}: {isa.ran}. OpenVINO's own kernels use every instruction set of the CPU, so a CPU with "
                f"{isa.isa} alone was imitated in part. Run `brain-edge verify` on such a CPU: it compares the masks "
                "of a phantom, not of a patient."
            )


def _about_the_data(judgement: Judgement) -> Iterator[str]:
    baseline = judgement.change.baseline
    if not judgement.verdict.by_reference:
        yield f"No case has a reference mask: the figures are agreement with {baseline}, not accuracy."
    before = evidence_in(judgement.baseline.manifest)
    if before is not None:
        yield (
            f"The baseline is itself the result of {before.change.noun}; `before` holds the loss of that change, which "
            "adds to the figures here."
        )
    if judgement.searched_on is Split.CALIBRATION:
        also = ", which also set the ranges" if judgement.change is Change.QUANTIZED else ""
        yield f"There is no validation split: trials were judged on the calibration images{also}."
    yield from _about_looks(judgement)
    subjects = len(judgement.worst_by_subject)
    needed = subjects_needed(USUAL_CONFIDENCE, USUAL_EXCEEDANCE)
    if speaks_of_patients(judgement.cohort, judgement.split) and subjects < needed:
        yield (
            f"{subjects} test subject(s): to show that at most 10 % of all subjects exceed the limit, {needed} are "
            f"needed, {needed - subjects} more (95 % confidence)."
        )


def _about_looks(judgement: Judgement) -> Iterator[str]:
    """Yield warnings about earlier looks at these test images that the user's log knows."""
    if judgement.other_candidates:
        yield (
            f"{judgement.other_candidates} other candidate(s) of this model were judged on these test images before "
            "(by this user's log); each look makes the figures weaker evidence."
        )
    for look in judgement.looks:
        if look.candidate == judgement.candidate:
            changed = "another" if look.limits != judgement.budget.limits else "the same"
            yield (
                f"This candidate was judged on these test images before, under {changed} budget (mean drop "
                f"{look.limits.max_dice_drop:g}, single case {look.limits.max_case_drop:g}), which it "
                f"{'met' if look.met else 'missed'}. A budget that is chosen after a look describes these images; "
                "meeting it is no test."
            )


def _about_labels(judgement: Judgement) -> Iterator[str]:
    baseline, candidate = judgement.change.baseline, judgement.change.candidate
    if judgement.verdict.by_reference:
        yield from _about_missing_references(judgement)
    best = baseline_dice(judgement.records)
    silent = _silent(judgement)
    for number in sorted({record.label for record in silent}):
        own = [record for record in silent if record.label == number]
        yield (
            f"label {number}: {baseline} itself finds too little of the label in case(s) {_listed(_numbers(own))} "
            f"(Dice at most {max(each.dice_baseline or 0.0 for each in own):.5f}, its best is "
            f"{max(best.get(number, [0.0])):.5f}); the reference may be another patient's. These cases lower no mean "
            "and are no evidence."
        )
    for number in judgement.budget.unbound:
        yield f"label {number} has no limit, as requested: nothing is promised about it."
    for number, known in baseline_dice(judgement.records).items():
        if fmean(known) < LOW_DICE and number not in judgement.verdict.small:
            yield (
                f"label {number}: {baseline} itself has a mean Dice of only {fmean(known):.5f} with the references; a "
                f"small drop of {candidate} is weak evidence."
            )
    if judgement.verdict.by_reference:
        yield from _about_errors_that_cancel(judgement)
    lost = [record for record in judgement.records if record.hd95_increase_mm == math.inf]
    if lost:
        yield (
            f"{candidate} loses a label that {baseline} finds in case(s) {_listed(_numbers(lost))}; HD95 is undefined."
        )


def _about_missing_references(judgement: Judgement) -> Iterator[str]:
    without = [record for record in judgement.records if not has_reference(record)]
    if without:
        worst = max((1.0 - record.agreement for record in without if record.agreement is not None), default=0.0)
        yield (
            f"{len(_numbers(without))} case(s) without a reference mask are in none of the drops; their masks "
            f"disagree with {judgement.change.baseline} by at most {worst:.5f}."
        )


def _about_errors_that_cancel(judgement: Judgement) -> Iterator[str]:
    baseline, candidate = judgement.change.baseline, judgement.change.candidate
    for label in label_records(judgement.records, judgement.budget):
        apart = label.mean_disagreement if label.allowed_ml is None else None
        if apart is not None and apart > HIDDEN * judgement.budget.max_dice_drop:
            yield (
                f"label {label.label}: the masks of {candidate} differ from those of {baseline} by {apart:.5f} "
                f"(1 - Dice), but Dice against the reference drops by only {label.mean_drop or 0.0:.5f}. Errors cancel "
                "on these images; --max-disagreement limits them."
            )


def _numbers(records: Iterable[AccuracyCase]) -> list[int]:
    return sorted({record.case for record in records})
