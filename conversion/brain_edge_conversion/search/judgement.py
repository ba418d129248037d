"""A frozen candidate and what was measured of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from brain_edge.evaluation.cohort import Split
from brain_edge_conversion.budget.budget import judge, losses, smallest_budget, telling
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
    "to ask for them now is to choose the budget after the look, which the next package records: it would describe "
    "these test images, and only test subjects that nobody has looked at can show that it holds"
)


@dataclass(frozen=True)
class Outcome:
    """A trial against the budget, here and under other instructions.

    Attributes:
        verdict: on this CPU.
        excess: the largest figure as a share of its limit, on any CPU; a finite number, since infinity is not JSON.
        met: whether every limit was met on every CPU that could be measured.
    """

    verdict: Verdict
    excess: float
    met: bool


def outcome_of(entry: Entry[Choice], budget: AccuracyBudget) -> Outcome:
    """Judge a trial that could be run."""
    verdict = judge(entry.records, entry.int8_share, budget)
    excesses = [verdict.excess, *(isa.excess for isa in entry.isas if isa.excess is not None)]
    met = verdict.met and all(isa.met for isa in entry.isas if isa.verified)
    return Outcome(verdict, min(max(excesses), 1e9), met)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A frozen candidate and what was measured of it.

    Attributes:
        change: how it was made.
        baseline: the package it was made of.
        cohort: the images.
        budget: the limits.
        records: per case and label, all of one split.
        share: of the multiply-adds that are integer.
        isas: other instruction sets.
        kernels: share of the multiply-adds per kernel, on this CPU.
        searched_on: the split that the search has seen.
        seen_images: hashes of the images that ranges and settings were chosen on.
        candidate: SHA-256 over its graphs.
        looks: judgements of this model on these images that came before.
        limits: what figures on these images do not say, whatever they are.
        trials: of the search, with the figures of each on the search data.
        facts: what else is known of the candidate.
        threads: of the measurements.
        versions: of what measured.
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
        """On the records."""
        return judge(self.records, self.share, self.budget)

    @property
    def failures(self) -> tuple[str, ...]:
        """Every limit that was missed, here or under other instructions, in words."""
        others = [f"under {isa.isa}: {isa.reason}" for isa in self.isas if isa.verified and not isa.met]
        return (*self.verdict.failures, *others, *self._missing_subjects())

    @property
    def smallest_budget(self) -> str:
        """In words, the smallest limits on the drop that are met here and under the other instructions."""
        verdict = self.verdict
        means = [isa.worst_mean_drop for isa in self.isas if isa.worst_mean_drop is not None]
        cases = [isa.worst_case_drop for isa in self.isas if isa.worst_case_drop is not None]
        worst = replace(
            verdict,
            worst_mean_drop=max([verdict.worst_mean_drop, *means]),
            worst_case_drop=max([verdict.worst_case_drop, *cases]),
        )
        words = smallest_budget(worst, self.budget)
        # the figures are in the failures anyway: what is said here is what taking them would be
        return f"{words}; {AFTER_THE_LOOK}" if words and self.split == Split.TEST else words

    @property
    def split(self) -> Split:
        """The split that was judged."""
        return self.records[0].split

    @property
    def bound(self) -> tuple[AccuracyCase, ...]:
        """The records of the labels that something is promised of."""
        return tuple(case for case in self.records if case.label not in self.budget.unbound)

    @property
    def worst_by_subject(self) -> dict[int, float]:
        """Number of each person who can witness a loss, or shows one -> the worst drop of a bound label."""
        drops, limit = losses(self.bound), self.budget.case_limit
        witnesses = telling(drops, self.budget)
        return worst_by_subject(
            [(case.subject, drop) for case, drop in drops.items() if case in witnesses or drop > limit]
        )

    @property
    def other_candidates(self) -> int:
        """How many others of this model were judged on these images before."""
        return len({look.candidate for look in self.looks} - {self.candidate})

    def _missing_subjects(self) -> Iterator[str]:
        """A test subject in whom no label occurs is in the cohort, but says nothing about the next one."""
        budget, found = self.budget, len(self.worst_by_subject)
        if self.split != Split.TEST or budget.confidence is None:
            return
        needed = subjects_needed(shared(budget.confidence, self.other_candidates), budget.exceedance_limit)
        if found < needed:
            among = f" for this and {self.other_candidates} other candidate(s)" if self.other_candidates else ""
            yield (
                f"--confidence {budget.confidence:g}{among} needs {needed} test subjects in whom a label occurs, of "
                f"which the baseline has enough right to lose; {found} were found"
            )
