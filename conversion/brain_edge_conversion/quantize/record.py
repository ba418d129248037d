"""The accuracy record of a package: what was measured, and every sentence on what that means. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.evaluation.cohort import Split
from brain_edge.evaluation.evidence import Accuracy, Basis, FloatLayer, IsaRecord, LabelRecord, TrialRecord
from brain_edge.evaluation.report.accuracy_report import AccuracyReport, NamedCase
from brain_edge_conversion.budget.budget import baseline_dice, has_reference, hd95_increase_mm, losses, smallest_budget
from brain_edge_conversion.budget.statement import speaks_of_patients, statement
from brain_edge_conversion.budget.subjects import (
    USUAL_CONFIDENCE,
    mean_interval,
    next_patient,
    subjects_needed,
    worst_by_subject,
)
from brain_edge_conversion.convert.convert import tool_versions
from brain_edge_conversion.quantize.ranking import COST_FACTORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from brain_edge.evaluation.cohort import Case, Cohort
    from brain_edge.evaluation.evidence import AccuracyCase
    from brain_edge.package import ModelPackage
    from brain_edge_conversion.budget.budget import AccuracyBudget, Verdict
    from brain_edge_conversion.quantize.policy import TrialOutcome

HIDDEN: Final = 10
"""Times the limit on the mean drop: where the masks are further apart than that, a small drop is luck."""
LOW_DICE: Final = 0.5
"""Of FP32 itself: below, a small drop says little of a label."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A frozen candidate and what was measured of it.

    Attributes:
        cohort: the images.
        budget: the limits.
        records: per case and label, all of one split.
        share: of the multiply-adds that are integer.
        verdict: on the records.
        isas: other instruction sets.
        searched_on: the split that the search has seen.
        earlier: how many other candidates were judged on these images before.
        trials: of the search, with the figures of each on the search data.
        floats: layers in floating point.
        kernels: share of the multiply-adds per kernel, on this CPU.
        threads: of the measurements.
        mark: of weights that were fit for testing; empty for all others.
    """

    cohort: Cohort
    budget: AccuracyBudget
    records: Sequence[AccuracyCase]
    share: float
    verdict: Verdict
    isas: Sequence[IsaRecord]
    searched_on: Split
    earlier: int
    trials: Sequence[TrialRecord]
    floats: Sequence[FloatLayer]
    kernels: Mapping[str, float]
    threads: int
    mark: str = ""

    @property
    def failures(self) -> tuple[str, ...]:
        """Every limit that was missed, here or under other instructions, in words."""
        others = [f"under {isa.isa}: {isa.reason}" for isa in self.isas if isa.verified and not isa.met]
        return (*self.verdict.failures, *others, *self._missing_subjects())

    @property
    def smallest_budget(self) -> str:
        """In words, the smallest limits on the drop that are met here and under the other instructions."""
        means = [isa.worst_mean_drop for isa in self.isas if isa.worst_mean_drop is not None]
        cases = [isa.worst_case_drop for isa in self.isas if isa.worst_case_drop is not None]
        worst = replace(
            self.verdict,
            worst_mean_drop=max([self.verdict.worst_mean_drop, *means]),
            worst_case_drop=max([self.verdict.worst_case_drop, *cases]),
        )
        return smallest_budget(worst, self.budget)

    def _missing_subjects(self) -> Iterator[str]:
        """A test subject in whom no label occurs is in the cohort, but says nothing about the next one."""
        needed = subjects_needed(self.budget.confidence) if self.budget.confidence is not None else 0
        if self.split == Split.TEST and len(_worst(self)) < needed:
            yield (
                f"--confidence {self.budget.confidence:g} needs {needed} test subjects in whom a label occurs, "
                f"{len(_worst(self))} were found"
            )

    @property
    def split(self) -> str:
        """The split that was judged."""
        return self.records[0].split


def accuracy_record(judgement: Judgement) -> Accuracy:
    """Everything as the manifest of a package carries it: numbers of cases and people, no names.

    It is returned as it will be read back, since a digest is taken of it: a limit given as 1 is read as 1.0.
    """
    return msgspec.json.decode(msgspec.json.encode(_record(judgement)), type=Accuracy)


def _record(judgement: Judgement) -> Accuracy:
    budget, verdict = judgement.budget, judgement.verdict
    increase = verdict.worst_hd95_increase_mm
    return Accuracy(
        statement=statement(verdict, judgement.cohort, judgement.split, len(_worst(judgement)), mark=judgement.mark),
        max_dice_drop=budget.max_dice_drop,
        worst_mean_drop=verdict.worst_mean_drop,
        int8_share=judgement.share,
        cohort_sha256=judgement.cohort.sha256,
        demonstration=judgement.cohort.manifest.demo,
        cases=tuple(judgement.records),
        basis=Basis.ACCURACY if verdict.by_reference else Basis.AGREEMENT,
        max_case_drop=budget.case_limit,
        max_disagreement=budget.max_disagreement,
        max_hd95_increase_mm=budget.max_hd95_increase_mm,
        min_int8_share=budget.min_int8_share,
        worst_case_drop=verdict.worst_case_drop,
        worst_mean_disagreement=verdict.worst_mean_disagreement,
        worst_hd95_increase_mm=None if increase is None or math.isinf(increase) else increase,
        next_patient=_next_patient(judgement),
        warnings=tuple(_warnings(judgement)),
        subjects=len(_worst(judgement)),
        searched_on=judgement.searched_on,
        earlier_candidates=judgement.earlier,
        labels=label_records(judgement.records),
        isas=tuple(judgement.isas),
        trials=tuple(judgement.trials),
        float_layers=tuple(judgement.floats),
        cost_factors=dict(COST_FACTORS),
        threads=judgement.threads,
        kernels=dict(judgement.kernels),
        seen_images=_seen_images(judgement.cohort),
    )


def _seen_images(cohort: Cohort) -> tuple[str, ...]:
    """The images that ranges and settings were chosen on, whatever the cohort that names them later is called."""
    seen = [case for case in cohort.cases() if case.entry.split is not Split.TEST]
    return tuple(sorted({image.sha256 for case in seen for image in case.entry.inputs.values()}))


def accuracy_report(
    package: ModelPackage, judgement: Judgement, search_result: str, written: ModelPackage | None
) -> AccuracyReport:
    """Everything about one quantisation, with the names of the cohort and without pictures.

    Args:
        package: in floating point.
        judgement: what was measured.
        search_result: why the search ended.
        written: the sealed INT8 package, or None where the budget is missed.
    """
    cohort, manifest = judgement.cohort, judgement.cohort.manifest
    numbers = {record.case for record in judgement.records}
    return AccuracyReport(
        met=written is not None,
        failures=judgement.failures,
        smallest_budget=judgement.smallest_budget,
        search_result=search_result,
        judged_on=judgement.split,
        model=package.spec.name,
        fp32_digest=package.digest,
        int8_digest=None if written is None else written.digest,
        labels=package.spec.labels,
        cohort=manifest.name,
        cohort_sha256=cohort.sha256,
        licence=manifest.licence,
        citation=manifest.citation,
        synthetic=manifest.synthetic,
        demonstration=manifest.demo,
        versions=tool_versions(),
        accuracy=accuracy_record(judgement),
        cases=tuple(_named(case) for case in cohort.cases() if case.number in numbers),
    )


def _named(case: Case) -> NamedCase:
    return NamedCase(case=case.number, subject=case.entry.subject, visit=case.entry.visit, sequences=tuple(case.inputs))


def trial_record(outcome: TrialOutcome, verdict: Verdict) -> TrialRecord:
    """One trial, in the words of the manifest."""
    return TrialRecord(
        setting=outcome.trial.setting.title,
        reverted=tuple(f"{group.graph}: {layer}" for group in outcome.trial.reverted for layer in group.layers),
        int8_share=outcome.int8_share,
        worst_mean_drop=verdict.worst_mean_drop,
        worst_case_drop=verdict.worst_case_drop,
        excess=outcome.excess,
        met=outcome.met,
    )


def label_records(records: Sequence[AccuracyCase]) -> tuple[LabelRecord, ...]:
    """Per label over the cases that decide: those with a reference, or all where none has one."""
    by_reference = any(has_reference(record) for record in records)
    judged = [record for record in records if has_reference(record) == by_reference]
    labels = sorted({record.label for record in judged})
    return tuple(_label([record for record in judged if record.label == label]) for label in labels)


def _label(records: Sequence[AccuracyCase]) -> LabelRecord:
    present = [record for record in records if record.drop is not None or record.agreement is not None]
    drops = [record.drop for record in present if record.drop is not None]
    disagreements = [1.0 - record.agreement for record in present if record.agreement is not None]
    # a label that INT8 alone has lost is no number; it is a warning of its own
    increases = [value for record in present if (value := hd95_increase_mm(record)) is not None and value < math.inf]
    return LabelRecord(
        label=records[0].label,
        cases=len(present),
        absent=len(records) - len(present),
        mean_drop=_mean(drops),
        worst_drop=max(drops, default=None),
        mean_disagreement=_mean(disagreements),
        worst_disagreement=max(disagreements, default=None),
        mean_hd95_increase_mm=_mean(increases),
        false_positive_ml=sum(record.volume_int8_ml or 0.0 for record in present if record.reference_volume_ml == 0),
        interval=mean_interval([(record.subject, record.drop) for record in present if record.drop is not None]),
        lesions=_total([record.lesions for record in present]),
        found_fp32=_total([record.found_fp32 for record in present]),
        found_int8=_total([record.found_int8 for record in present]),
    )


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _worst(judgement: Judgement) -> dict[int, float]:
    return worst_by_subject([(case.subject, drop) for case, drop in losses(judgement.records).items()])


def _next_patient(judgement: Judgement) -> str:
    if not speaks_of_patients(judgement.cohort, judgement.split):
        return "No statement about new patients."
    what = "drop" if judgement.verdict.by_reference else "disagreement with FP32"
    return next_patient(_worst(judgement), what)


def _warnings(judgement: Judgement) -> Iterator[str]:
    """What the figures do not say."""
    yield from _about_the_data(judgement)
    yield from _about_labels(judgement)
    for isa in judgement.isas:
        if not isa.verified:
            yield f"{isa.isa}: {isa.reason}"


def _about_the_data(judgement: Judgement) -> Iterator[str]:
    if not judgement.verdict.by_reference:
        yield "No case has a reference mask: the figures are agreement with FP32, not accuracy."
    if judgement.searched_on is Split.CALIBRATION:
        yield "There is no validation split: trials were judged on the images that the ranges were taken from."
    if judgement.earlier:
        yield (
            f"{judgement.earlier} other candidate(s) were judged on these test images before, as far as the folder of "
            "the package knows; each look makes the figures less new."
        )
    subjects, needed = len(_worst(judgement)), subjects_needed(USUAL_CONFIDENCE)
    if speaks_of_patients(judgement.cohort, judgement.split) and subjects < needed:
        yield f"{subjects} test subject(s): a statement with 95 % confidence needs {needed}, {needed - subjects} more."


def _about_labels(judgement: Judgement) -> Iterator[str]:
    without = [record for record in judgement.records if not has_reference(record)]
    if judgement.verdict.by_reference and without:
        worst = max((1.0 - record.agreement for record in without if record.agreement is not None), default=0.0)
        yield (
            f"{len(_numbers(without))} case(s) without a reference mask are in none of the drops; their masks "
            f"disagree with FP32 by {worst:.5f} at most."
        )
    for number in judgement.budget.unbound:
        yield f"label {number} is bound by no limit, as was asked: nothing is promised of it."
    for number, known in baseline_dice(judgement.records).items():
        if fmean(known) < LOW_DICE:
            yield (
                f"label {number}: FP32 itself has a mean Dice of {fmean(known):.5f} with the references; that INT8 "
                "loses little of it says little."
            )
    for label in label_records(judgement.records) if judgement.verdict.by_reference else ():
        apart = label.mean_disagreement
        if apart is not None and apart > HIDDEN * judgement.budget.max_dice_drop:
            yield (
                f"label {label.label}: the INT8 masks differ from FP32's by {apart:.5f} (1 - Dice) where Dice against "
                f"the reference drops by {label.mean_drop or 0.0:.5f}: errors that cancel, on these images; "
                "--max-disagreement bounds them."
            )
    lost = [record for record in judgement.records if hd95_increase_mm(record) == math.inf]
    if lost:
        yield f"INT8 loses a label that FP32 finds in case(s) {', '.join(map(str, _numbers(lost)))}; HD95 is undefined."


def _numbers(records: Iterable[AccuracyCase]) -> list[int]:
    return sorted({record.case for record in records})
