"""Who is used for what: the cases that set ranges, those that judge trials, and those that judge the choice, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from brain_edge.errors import UsageError
from brain_edge.evaluation.cohort import Split, limits_of_contrast, require_cases
from brain_edge.evaluation.cohort.manifest import person_key
from brain_edge_conversion.budget.statement import speaks_of_patients
from brain_edge_conversion.budget.subjects import require_confidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from brain_edge.evaluation.cohort import Case, CheckedCase, Cohort
    from brain_edge.spec import ModelSpec
    from brain_edge_conversion.budget.budget import AccuracyBudget

    Checked: TypeAlias = Mapping[int, CheckedCase]
    """By the number of the case."""


@dataclass(frozen=True)
class Splits:
    """Which cases of a cohort are used for what.

    Attributes:
        cohort: the whole.
        calibration: the ranges of activations are taken from them; empty where none are.
        searched: trials are judged on them.
        judged: the frozen candidate is judged on them, once.
    """

    cohort: Cohort
    calibration: tuple[Case, ...]
    searched: tuple[Case, ...]
    judged: tuple[Case, ...]

    @property
    def searched_on(self) -> Split:
        """The split of the trials."""
        return self.searched[0].entry.split

    @property
    def judged_on(self) -> Split:
        """The split of the judgement."""
        return self.judged[0].entry.split

    @property
    def seen(self) -> tuple[Case, ...]:
        """The cases that ranges and settings are chosen on."""
        return (*self.calibration, *self.searched)

    @property
    def compared(self) -> tuple[tuple[Case, ...], ...]:
        """The splits that masks of the baseline are needed of, each once."""
        return (self.searched,) if self.searched == self.judged else (self.searched, self.judged)


def split_cohort(cohort: Cohort, *, calibrates: bool) -> Splits:
    """Who is used for what.

    Args:
        cohort: the images.
        calibrates: whether ranges are taken from images.

    Raises:
        InputError: no calibration case where ranges are taken; no validation case, unless this is a demonstration on
            one head.
    """
    counts = cohort.counts()
    is_one_head = cohort.manifest.demo and not counts[Split.VALIDATION]
    searched = cohort.cases(Split.CALIBRATION if is_one_head else Split.VALIDATION)
    judged = cohort.cases(Split.TEST) if counts[Split.TEST] else searched
    return Splits(cohort, cohort.cases(Split.CALIBRATION) if calibrates else (), searched, judged)


def require_search(splits: Splits, spec: ModelSpec, budget: AccuracyBudget, report: Callable[[str], None]) -> Checked:
    """Refuse what a search could not judge, before anything is computed; the cases as they were checked.

    Raises:
        UsageError: an unbound label that the model has not, or limits that would bind nothing.
        BudgetError: the confidence needs more subjects.
        InputError: a case cannot be used.
    """
    labels = spec.label_names()
    if unknown := sorted(set(budget.unbound) - set(labels)):
        raise UsageError(
            f"expected --unbound to name a label of {spec.name} ({', '.join(map(str, labels))}), got {unknown[0]}"
        )
    if set(labels) <= set(budget.unbound):
        raise UsageError(f"--unbound names every label of {spec.name}: the budget would bind nothing; leave one bound")
    known = [case for cases in splits.compared for case in cases if case.has_reference]
    if budget.max_hd95_increase_mm is not None and not known:
        raise UsageError(
            f"no case to be judged of the cohort {splits.cohort.called} has a reference mask: --max-hd95-increase-mm "
            "would bind nothing; leave it out, or add reference masks"
        )
    judged = [case for case in splits.judged if case.has_reference] or splits.judged
    people = {person_key(case.entry.subject) for case in judged}
    counts = speaks_of_patients(splits.cohort, splits.judged_on)
    require_confidence(budget, len(people) if counts else 0, f"the cohort {splits.cohort.called}")
    used = {case.number: case for cases in (splits.calibration, *splits.compared) for case in cases}
    checked = require_cases(tuple(used.values()), spec, report)
    for line in limits_of_contrast(checked, spec):
        report(f"warning: {line}")
    return {each.case.number: each for each in checked}


def images_of(cases: Iterable[Case], checked: Checked) -> frozenset[str]:
    """The images of these cases, by their hashes: another title or file makes no new image."""
    return frozenset[str]().union(*(checked[case.number].hashes for case in cases))
