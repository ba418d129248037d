"""What measured drops mean, in one sentence, for every command that makes a package within a budget. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.evaluation.cohort import Split

if TYPE_CHECKING:
    from brain_edge.evaluation.cohort import Cohort


def statement(seen: str, cohort: Cohort, split: str, mark: str) -> str:
    """What was seen, and what it says nothing about.

    Args:
        seen: the figures, in words.
        cohort: that they belong to.
        split: that was judged.
        mark: of weights that were fit for testing; empty for all others.
    """
    sentence = _limited(seen, cohort, split)
    return f"weights {mark}: {sentence}" if mark else sentence


def _limited(seen: str, cohort: Cohort, split: str) -> str:
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
