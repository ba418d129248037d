"""The surroundings of a search of INT8 packages up to its first trial, with made-up trials in its journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evidences import accuracy_case

from brain_edge_conversion.budget.measure import subject_numbers
from brain_edge_conversion.search.journal import Entry, Journal
from brain_edge_conversion.search.run import question_of
from brain_edge_conversion.search.space import TrialSetup
from brain_edge_conversion.search.splits import split_cohort

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brain_edge.evaluation.cohort import Cohort
    from brain_edge_conversion.quantize.policy import Trial
    from brain_edge_conversion.quantize.space import Int8Space
    from brain_edge_conversion.search.options import SearchOptions


def made_up(choice: Trial, drop: float) -> Entry[Trial]:
    """A trial, all of it in INT8, whose only validation case lost this."""
    record = accuracy_case(
        2, split="validation", dice_baseline=0.9, dice_candidate=0.9 - drop, drop=drop, agreement=0.99
    )
    return Entry(choice=choice, records=(record,), int8_share=1.0)


def prepared(
    space: Int8Space, cohort: Cohort, folder: Path, options: SearchOptions, trials: Sequence[Entry[Trial]]
) -> TrialSetup[Trial]:
    """Prepare a space for the trial after these ones; the inputs of its networks are collected."""
    journal = Journal(folder / "journal", question_of(space, cohort, options), space.traits.entry)
    for trial in trials:
        journal.entries.append(trial)
    (folder / "scratch").mkdir()
    setup = TrialSetup(
        splits=split_cohort(cohort, calibrates=True),
        subjects=subject_numbers(cohort),
        masks=folder / "scratch",
        scratch=folder / "scratch",
        journal=journal,
        options=options,
    )
    space.prepare(setup)
    return setup
