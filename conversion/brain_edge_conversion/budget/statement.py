"""What measured drops mean, in one sentence, for every command that makes a package within a budget. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.evaluation.cohort import Split

if TYPE_CHECKING:
    from brain_edge.evaluation.cohort import Cohort
    from brain_edge_conversion.budget.budget import Verdict


def statement(verdict: Verdict, cohort: Cohort, split: str, subjects: int, baseline: str, mark: str) -> str:
    """The worst mean drop of a label, and what it says nothing about.

    Args:
        verdict: on the judged cases.
        cohort: they belong to.
        split: that was judged.
        subjects: how many people.
        baseline: what masks without a reference are compared with.
        mark: of weights that were fit for testing; empty for all others.
    """
    sentence = _measured(verdict, cohort, split, subjects, baseline)
    return f"weights {mark}: {sentence}" if mark else sentence


def _measured(verdict: Verdict, cohort: Cohort, split: str, subjects: int, baseline: str) -> str:
    what = "mean Dice drop" if verdict.by_reference else f"mean disagreement with {baseline} (no reference masks)"
    seen = f"{what} at most {verdict.worst_mean_drop:.5f} per label over the {split} cases of {subjects} subject(s)"
    if cohort.manifest.demo:
        return f"accuracy: demonstration, one head: {seen}; no statement about other heads"
    if cohort.manifest.synthetic:
        return f"synthetic images: {seen}; no statement about real heads"
    if split != Split.TEST:
        return f"{seen}; search data, no statement about new patients"
    return seen


def speaks_of_patients(cohort: Cohort, split: str) -> bool:
    """Whether figures on a split say anything about a new patient."""
    return split == Split.TEST and not cohort.manifest.demo and not cohort.manifest.synthetic
