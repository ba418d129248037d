"""Judgement of a frozen candidate from its measurements. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from brain_edge.evaluation.cohort import Split
from brain_edge_conversion.budget.budget import USUAL_SPREAD, has_reference, judge, losses, smallest_budget, telling
from brain_edge_conversion.budget.label_limits import apart_ml
from brain_edge_conversion.budget.subjects import shared, subjects_needed, worst_by_subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brain_edge.evaluation.cohort import Cohort
    from brain_edge.evaluation.evidence import AccuracyCase, Change, IsaRecord, Look, TrialRecord
    from brain_edge.package import ModelPackage
    from brain_edge_conversion.budget.budget import AccuracyBudget, Verdict
    from brain_edge_conversion.search.journal import Choice, Entry
    from brain_edge_conversion.search.space import Facts


AFTER_THE_LOOK: Final = (
    "a budget set now is chosen after a look at the test images, and the next package records this. Such a budget "
    "describes these images; only new test subjects can show that it holds"
)


@dataclass(frozen=True)
class Outcome:
    """Outcome of a trial against the budget, on this CPU and under other ISAs.

    Attributes:
        verdict: verdict on this CPU.
        excess: largest figure divided by its limit, over all CPUs; finite, because JSON has no infinity.
        met: True if every limit was met on every CPU that could be measured.
    """

    verdict: Verdict
    excess: float
    met: bool


def outcome_of(entry: Entry[Choice], budget: AccuracyBudget) -> Outcome:
    """Judge a trial that could run."""
    verdict = judge(entry.records, entry.int8_share, budget)
    excesses = [verdict.excess, *(isa.excess for isa in entry.isas if isa.excess is not None)]
    met = verdict.met and all(isa.met for isa in entry.isas if isa.verified)
    return Outcome(verdict, min(max(excesses), 1e9), met)


def shown_losses(cases: Sequence[AccuracyCase], budget: AccuracyBudget) -> Iterator[tuple[int, float]]:
    """Yield (subject, loss) of every case and bound label that shows a loss or could show one.

    A loss is a drop on the scale on which `budget.case_limit` is the limit of every label, also of those with a limit
    of their own and of those that are bound in ml.
    """
    bound = [case for case in cases if case.label not in budget.unbound]
    small = budget.small_labels(bound)
    drops = losses([case for case in bound if case.label not in small])
    witnesses = telling(drops, budget)
    for case, drop in drops.items():
        limit = budget.of(case.label).case_limit
        if case in witnesses or drop > limit:
            yield case.subject, drop / (limit / budget.case_limit)
    by_reference = any(has_reference(case) for case in bound)
    for case in bound:
        if case.label in small and (differ_ml := apart_ml(case)) is not None:
            allowed = USUAL_SPREAD * budget.allowed_ml(case, by_reference=by_reference)
            yield case.subject, differ_ml / allowed * budget.case_limit


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Frozen candidate and its measurements.

    Attributes:
        change: change that made the candidate from the baseline.
        baseline: package that the candidate was made from.
        cohort: cohort of the images.
        budget: limits on the candidate.
        records: measurements per case and label, all of one split.
        share: INT8 fraction of the multiply-accumulates.
        isas: measurements under other ISAs.
        kernels: kernel -> fraction of the multiply-accumulates, on this CPU.
        searched_on: split that the search has seen.
        seen_images: hashes of the images on which ranges and settings were chosen.
        candidate: SHA-256 over the candidate's graphs.
        looks: earlier judgements of this model on these images.
        limits: general warnings about figures on these images.
        trials: trials of the search, with their figures on the search data.
        facts: facts about the candidate other than its masks.
        threads: number of threads in the measurements.
        versions: versions of the measuring tools.
    """

    change: Change
    baseline: ModelPackage
    cohort: Cohort
    budget: AccuracyBudget
    records: Sequence[AccuracyCase]
    share: float
    isas: Sequence[IsaRecord]
    kernels: Mapping[str, float]
    searched_on: Split
    seen_images: frozenset[str]
    candidate: str
    looks: tuple[Look, ...]
    limits: tuple[str, ...]
    trials: Sequence[TrialRecord]
    facts: Facts
    threads: int
    versions: Mapping[str, str]

    @property
    def verdict(self) -> Verdict:
        """Verdict on the records."""
        return judge(self.records, self.share, self.budget)

    @property
    def failures(self) -> tuple[str, ...]:
        """One sentence per missed limit, on this CPU or under another ISA."""
        others = [f"under {isa.isa}: {isa.reason}" for isa in self.isas if isa.verified and not isa.met]
        return (*self.verdict.failures, *others, *self._missing_subjects())

    @property
    def smallest_budget(self) -> str:
        """Sentence with the smallest drop limits that are met on this CPU and under the other ISAs."""
        verdict = self.verdict
        means = [isa.worst_mean_drop for isa in self.isas if isa.worst_mean_drop is not None]
        cases = [isa.worst_case_drop for isa in self.isas if isa.worst_case_drop is not None]
        excesses = [isa.excess for isa in self.isas if isa.excess is not None]
        worst = replace(
            verdict,
            drop_excess=max([verdict.drop_excess, *excesses]),
            worst_mean_drop=max([verdict.worst_mean_drop, *means]),
            worst_case_drop=max([verdict.worst_case_drop, *cases]),
        )
        words = smallest_budget(worst, self.budget)
        # the failures already hold the figures: this sentence adds what a budget chosen from them means
        return f"{words}; {AFTER_THE_LOOK}" if words and self.split == Split.TEST else words

    @property
    def split(self) -> Split:
        """Split that was judged."""
        return self.records[0].split

    @property
    def bound(self) -> tuple[AccuracyCase, ...]:
        """Records of the labels that have a limit."""
        return tuple(case for case in self.records if case.label not in self.budget.unbound)

    @property
    def worst_by_subject(self) -> dict[int, float]:
        """Number of a person who shows a loss or could show one -> worst loss of a bound label (`shown_losses`)."""
        return worst_by_subject(list(shown_losses(self.records, self.budget)))

    @property
    def other_candidates(self) -> int:
        """Number of other candidates of this model that were judged on these images before."""
        return len({look.candidate for look in self.looks} - {self.candidate})

    def _missing_subjects(self) -> Iterator[str]:
        """Yield a sentence if too few test subjects count; a subject without any label is no evidence."""
        budget, found = self.budget, len(self.worst_by_subject)
        if self.split != Split.TEST or budget.confidence is None:
            return
        needed = subjects_needed(shared(budget.confidence, self.other_candidates), budget.exceedance_limit)
        if found < needed:
            among = f" for this and {self.other_candidates} other candidate(s)" if self.other_candidates else ""
            yield (
                f"--confidence {budget.confidence:g}{among} needs {needed} test subjects with a label that the "
                f"baseline finds well enough to lose; {found} were found"
            )
