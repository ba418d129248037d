"""The verdict of a budget on two packages that were compared on a cohort, without a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from brain_edge.errors import BudgetError
from brain_edge.evaluation.evidence import AccuracyCase
from brain_edge_conversion.budget.budget import judge
from brain_edge_conversion.budget.measure import subject_numbers
from brain_edge_conversion.budget.subjects import require_confidence

if TYPE_CHECKING:
    from brain_edge.evaluation.cohort import Cohort
    from brain_edge.evaluation.compare import Comparison
    from brain_edge_conversion.budget.budget import AccuracyBudget


def require_within(comparison: Comparison, cohort: Cohort, budget: AccuracyBudget) -> str:
    """Return a sentence about a budget that the compared masks meet. No INT8 share is judged.

    Raises:
        UsageError: the budget binds nothing on these cases.
        BudgetError: the budget is missed, or the confidence needs more subjects.
    """
    numbers = subject_numbers(cohort)
    people = len({numbers[case.case] for case in comparison.cases})
    require_confidence(budget, people, comparison.cohort)
    verdict = judge(_records(comparison, numbers), 1.0, budget)
    if not verdict.met:
        raise BudgetError(f"the accuracy budget is not met: {'; '.join(verdict.failures)}")
    in_ml = f"; label(s) {', '.join(map(str, verdict.small))} judged in ml" if verdict.small else ""
    return (
        f"the accuracy budget is met: mean drop at most {verdict.worst_mean_drop:.5f}, "
        f"of a single case {verdict.worst_case_drop:.5f}{in_ml}"
    )


def _records(comparison: Comparison, numbers: dict[int, int]) -> list[AccuracyCase]:
    return [
        AccuracyCase(
            case=case.case,
            split=case.split,
            subject=numbers[case.case],
            voxel_diagonal_mm=case.voxel_diagonal_mm,
            **msgspec.structs.asdict(label),
        )
        for case in comparison.cases
        for label in case.labels
    ]
