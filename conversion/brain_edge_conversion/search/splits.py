"""Split of a cohort by use: calibration cases set ranges, search cases judge trials, others judge the choice once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from brain_edge.errors import UsageError
from brain_edge.evaluation.cohort import Split, limits_of_images, require_cases
from brain_edge.evaluation.cohort.manifest import person_key
from brain_edge_conversion.budget.statement import speaks_of_patients
from brain_edge_conversion.budget.subjects import require_confidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from brain_edge.evaluation.cohort import Case, CheckedCase, Cohort
    from brain_edge.spec import ModelSpec
    from brain_edge_conversion.budget.budget import AccuracyBudget

    Checked: TypeAlias = Mapping[int, CheckedCase]
    """Number of a case -> the checked case."""


@dataclass(frozen=True)
class Splits:
    """Cases of a cohort by use.

    Attributes:
        cohort: whole cohort.
        calibration: cases that set the ranges of activations; empty if the search needs no ranges.
        searched: cases on which trials are judged.
        judged: cases on which the frozen candidate is judged, once.
    """

    cohort: Cohort
    calibration: tuple[Case, ...]
    searched: tuple[Case, ...]
    judged: tuple[Case, ...]

    @property
    def searched_on(self) -> Split:
        """Split on which trials are judged."""
        return self.searched[0].entry.split

    @property
    def judged_on(self) -> Split:
        """Split on which the frozen candidate is judged."""
        return self.judged[0].entry.split

    @property
    def seen(self) -> tuple[Case, ...]:
        """Cases on which ranges and settings are chosen."""
        return (*self.calibration, *self.searched)

    @property
    def compared(self) -> tuple[tuple[Case, ...], ...]:
        """Splits that need masks of the baseline, each once."""
        return (self.searched,) if self.searched == self.judged else (self.searched, self.judged)


def split_cohort(cohort: Cohort, *, calibrates: bool) -> Splits:
    """Split a cohort by use.

    Args:
        cohort: cohort of the images.
        calibrates: True if ranges are taken from calibration images.

    Raises:
        InputError: a needed calibration case is missing, or a validation case is (except in a demonstration on one
            head).
    """
    counts = cohort.counts()
    is_one_head = cohort.manifest.demo and not counts[Split.VALIDATION]
    searched = cohort.cases(Split.CALIBRATION if is_one_head else Split.VALIDATION)
    judged = cohort.cases(Split.TEST) if counts[Split.TEST] else searched
    return Splits(cohort, cohort.cases(Split.CALIBRATION) if calibrates else (), searched, judged)


def require_search(splits: Splits, spec: ModelSpec, budget: AccuracyBudget, report: Callable[[str], None]) -> Checked:
    """Refuse, before anything is computed, what a search could not judge; return the checked cases.

    Raises:
        UsageError: the model does not have an unbound label, or a limit binds nothing.
        BudgetError: the confidence needs more subjects.
        InputError: a case cannot be used.
    """
    labels = spec.label_names()
    if unknown := sorted(set(budget.unbound) - set(labels)):
        raise UsageError(
            f"expected --unbound to name a label of {spec.name} ({', '.join(map(str, labels))}), got {unknown[0]}"
        )
    if set(labels) <= set(budget.unbound):
        raise UsageError(f"--unbound names every label of {spec.name}, so the budget has no effect; omit one --unbound")
    known = [case for cases in splits.compared for case in cases if case.has_reference]
    if budget.max_hd95_increase_mm is not None and not known:
        raise UsageError(
            f"--max-hd95-increase-mm needs reference masks, and no judged case of the cohort {splits.cohort.called} "
            "has one; remove the option, or add reference masks"
        )
    judged = [case for case in splits.judged if case.has_reference] or splits.judged
    people = {person_key(case.entry.subject) for case in judged}
    counts = speaks_of_patients(splits.cohort, splits.judged_on)
    require_confidence(budget, len(people) if counts else 0, f"the cohort {splits.cohort.called}")
    used = {case.number: case for cases in (splits.calibration, *splits.compared) for case in cases}
    checked = require_cases(tuple(used.values()), spec, report)
    for line in limits_of_images(checked, spec):
        report(f"warning: {line}")
    return {each.case.number: each for each in checked}


def images_of(cases: Iterable[Case], checked: Checked) -> frozenset[str]:
    """Return the hashes of the images of these cases; another title or file makes no new image."""
    return frozenset[str]().union(*(checked[case.number].hashes for case in cases))
