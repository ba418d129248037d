"""One sentence about measured drops, for every command that makes a package within a budget. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.evaluation.cohort import Split

if TYPE_CHECKING:
    from brain_edge.evaluation.cohort import Cohort


def statement(seen: str, cohort: Cohort, split: str, mark: str) -> str:
    """Return a sentence with the measured figures and their limits of validity.

    Args:
        seen: measured figures, in words.
        cohort: cohort of the figures.
        split: split that was judged.
        mark: mark of weights that were fitted for testing; empty for all other weights.
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
    """Return True if figures on this split are evidence about new patients."""
    return split == Split.TEST and not cohort.manifest.demo and not cohort.manifest.synthetic
