"""The record of a tuning, as a package carries it: numbers of cases and people, no names and no times. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from brain_edge.evaluation.tuning import TunedCase, TunedTrial, Tuning
from brain_edge_conversion.budget.budget import has_reference, judge, losses
from brain_edge_conversion.budget.statement import speaks_of_patients, statement
from brain_edge_conversion.budget.subjects import USUAL_CONFIDENCE, next_patient, subjects_needed, worst_by_subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brain_edge.evaluation.cohort import Cohort
    from brain_edge.evaluation.evidence import AccuracyCase, IsaRecord
    from brain_edge.package import ModelPackage
    from brain_edge_conversion.budget.budget import AccuracyBudget, Verdict
    from brain_edge_conversion.tune.journal import Entry
    from brain_edge_conversion.tune.settings import Setting, Space

ALL_ALLOWED = 1.0
"""Share of integer multiply-adds as a budget sees it: tuning is not bound by one."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A frozen choice and what was measured of it.

    Attributes:
        package: that was tuned.
        int8: whose graphs were taken; None where they are the package's own.
        cohort: the images.
        budget: the limits.
        space: of the settings.
        setting: the choice.
        searched_on: the split that the search has seen.
        entries: all trials.
        operations: of the package as it is and of the choice, over the cases that were searched.
        records: per case and label, all of one split.
        isas: the same with the instructions of older CPUs.
        earlier: how many other candidates were judged on these images before.
        threads: of the measurements.
    """

    package: ModelPackage
    int8: ModelPackage | None
    cohort: Cohort
    budget: AccuracyBudget
    space: Space
    setting: Setting
    searched_on: str
    entries: Sequence[Entry]
    operations: tuple[float, float]
    records: Sequence[AccuracyCase]
    isas: Sequence[IsaRecord]
    earlier: int
    threads: int

    @property
    def verdict(self) -> Verdict:
        """On the records."""
        return judge(self.records, ALL_ALLOWED, self.budget)

    @property
    def failures(self) -> tuple[str, ...]:
        """Every limit that was missed, here or under other instructions, in words."""
        others = [f"under {isa.isa}: {isa.reason}" for isa in self.isas if isa.verified and not isa.met]
        return (*self.verdict.failures, *others)

    @property
    def split(self) -> str:
        """The split that was judged."""
        return self.records[0].split


def evidence(judgement: Judgement) -> Tuning:
    """Everything as the manifest carries it, as it will be read back, since a digest is taken of it."""
    return msgspec.json.decode(msgspec.json.encode(_evidence(judgement)), type=Tuning)


def tuned_trials(space: Space, entries: Sequence[Entry], budget: AccuracyBudget) -> tuple[TunedTrial, ...]:
    """The trials in the words of the manifest."""
    return tuple(_trial(space, entry, budget) for entry in entries)


def _evidence(judgement: Judgement) -> Tuning:
    verdict, budget = judgement.verdict, judgement.budget
    worst = _worst(judgement)
    return Tuning(
        statement=statement(
            verdict,
            judgement.cohort,
            judgement.split,
            len(worst),
            "the package as it was",
            judgement.package.manifest.mark,
        ),
        changes=judgement.space.changes(judgement.setting),
        tuned_from=judgement.package.digest,
        int8_from=None if judgement.int8 is None else judgement.int8.digest,
        by_reference=verdict.by_reference,
        max_dice_drop=budget.max_dice_drop,
        max_case_drop=budget.case_limit,
        worst_mean_drop=verdict.worst_mean_drop,
        worst_case_drop=verdict.worst_case_drop,
        worst_mean_disagreement=verdict.worst_mean_disagreement,
        worst_mean_drop_by_isa={
            isa.isa: isa.worst_mean_drop for isa in judgement.isas if isa.worst_mean_drop is not None
        },
        operations_full=judgement.operations[0],
        operations_tuned=judgement.operations[1],
        cohort_sha256=judgement.cohort.sha256,
        demonstration=judgement.cohort.manifest.demo or UNSET,
        searched_on=judgement.searched_on,
        subjects=len(worst),
        next_patient=_next_patient(judgement, worst),
        earlier_candidates=judgement.earlier,
        warnings=tuple(_warnings(judgement, worst)),
        cases=tuple(_case(record) for record in judgement.records),
        trials=tuned_trials(judgement.space, judgement.entries, budget),
        threads=judgement.threads,
    )


def _worst(judgement: Judgement) -> dict[int, float]:
    return worst_by_subject([(case.subject, drop) for case, drop in losses(judgement.records).items()])


def _next_patient(judgement: Judgement, worst: dict[int, float]) -> str:
    if not speaks_of_patients(judgement.cohort, judgement.split):
        return "No statement about new patients."
    return next_patient(worst, "drop" if judgement.verdict.by_reference else "disagreement with the package as it was")


def _warnings(judgement: Judgement, worst: dict[int, float]) -> Iterator[str]:
    """What the figures do not say."""
    if not judgement.verdict.by_reference:
        yield "No case has a reference mask: the figures are agreement with the package as it was, not accuracy."
    if judgement.package.manifest.accuracy is not None:
        yield (
            "The package that was tuned is INT8 already; what that cost its own record says, and it comes on top of "
            "the figures here."
        )
    if judgement.earlier:
        yield (
            f"{judgement.earlier} other candidate(s) were judged on these test images before, as far as the folder of "
            "the package knows; each look makes the figures less new."
        )
    needed = subjects_needed(USUAL_CONFIDENCE)
    if speaks_of_patients(judgement.cohort, judgement.split) and len(worst) < needed:
        missing = needed - len(worst)
        yield f"{len(worst)} test subject(s): a statement with 95 % confidence needs {needed}, {missing} more."
    without = {record.case for record in judgement.records if not has_reference(record)}
    if judgement.verdict.by_reference and without:
        yield f"{len(without)} case(s) without a reference mask are in none of the drops."
    for isa in judgement.isas:
        if not isa.verified:
            yield f"{isa.isa}: {isa.reason}"


def _case(record: AccuracyCase) -> TunedCase:
    return TunedCase(
        case=record.case,
        split=record.split,
        subject=record.subject,
        label=record.label,
        dice_full=record.dice_fp32,
        dice_tuned=record.dice_int8,
        drop=record.drop,
        agreement=record.agreement,
        volume_full_ml=record.volume_fp32_ml,
        volume_tuned_ml=record.volume_int8_ml,
    )


def _trial(space: Space, entry: Entry, budget: AccuracyBudget) -> TunedTrial:
    changes = space.changes(entry.setting)
    if entry.operations is None:
        return TunedTrial(changes, None, None, None, met=False, problem=entry.problem)
    verdict = judge(entry.records, ALL_ALLOWED, budget)
    return TunedTrial(changes, entry.operations, verdict.worst_mean_drop, verdict.worst_case_drop, met=verdict.met)
