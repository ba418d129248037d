"""The accuracy budget and the verdict on it: pure decisions over measured cases."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brain_edge.package.manifest import CaseRecord


@dataclass(frozen=True, kw_only=True)
class AccuracyBudget:
    """How much Dice quantisation may cost; Dice is between 0 and 1, and so is every limit.

    Attributes:
        max_dice_drop: greatest mean drop of any label.
        max_case_drop: greatest drop of any single case; twice the mean's limit unless stated.
        min_int8_share: least share of the multiply-adds that must be integer: a package that meets its budget
            because nothing was quantised is refused.

    Raises:
        UsageError: a limit that cannot bind, or that nothing can meet.
    """

    max_dice_drop: float = 0.01
    max_case_drop: float | None = None
    min_int8_share: float = 0.5

    def __post_init__(self) -> None:
        for name, value in (("--max-dice-drop", self.max_dice_drop), ("--max-case-drop", self.case_limit)):
            if not 0 < value < 1:
                raise UsageError(f"expected {name} between 0 and 1 (a Dice drop, such as 0.01), got {value:g}")
        if not 0 <= self.min_int8_share <= 1:
            raise UsageError(f"expected --min-int8-share between 0 and 1, got {self.min_int8_share:g}")

    @property
    def case_limit(self) -> float:
        """The limit for a single case."""
        return 2 * self.max_dice_drop if self.max_case_drop is None else self.max_case_drop


@dataclass(frozen=True)
class Verdict:
    """What was measured against a budget.

    Attributes:
        failures: each limit that was missed, in words; empty where the budget is met.
        worst_mean_drop: of any label.
        worst_case_drop: of any case and label.
        by_reference: True where drops are against reference masks; False where no case has one, and the drop
            is the disagreement with the FP32 package.
    """

    failures: tuple[str, ...]
    worst_mean_drop: float
    worst_case_drop: float
    by_reference: bool

    @property
    def met(self) -> bool:
        """True where no limit was missed."""
        return not self.failures


def judge(cases: Sequence[CaseRecord], share: float, budget: AccuracyBudget) -> Verdict:
    """Compare measured cases with a budget.

    Cases with and without reference masks are never pooled: where any case has a reference, those decide.

    Raises:
        UsageError: no case has a label to compare, so that the budget would bind nothing.
    """
    by_reference = any(case.drop is not None for case in cases)
    drops = {case: drop for case in cases if (drop := _drop(case, by_reference=by_reference)) is not None}
    if not drops:
        raise UsageError("no case of the cohort has a label to compare; the budget would bind nothing")
    means = _means_by_label(drops)
    label, worst_mean = max(means.items(), key=lambda item: item[1])
    worst_case = max(drops, key=lambda case: drops[case])
    failures = []
    if worst_mean > budget.max_dice_drop:
        failures.append(f"mean drop of label {label} is {worst_mean:.5f}, the budget is {budget.max_dice_drop:g}")
    if drops[worst_case] > budget.case_limit:
        failures.append(
            f"case {worst_case.case}, label {worst_case.label} drops by {drops[worst_case]:.5f}, "
            f"the limit for a single case is {budget.case_limit:g}"
        )
    if share < budget.min_int8_share:
        failures.append(f"{share:.1%} of the multiply-adds are INT8, expected at least {budget.min_int8_share:.1%}")
    return Verdict(tuple(failures), worst_mean, drops[worst_case], by_reference)


def _drop(case: CaseRecord, *, by_reference: bool) -> float | None:
    """Dice that is lost (negative where it is won), or None where this case says nothing."""
    if by_reference:
        return case.drop
    return None if case.agreement is None else 1.0 - case.agreement


def _means_by_label(drops: Mapping[CaseRecord, float]) -> Mapping[int, float]:
    by_label: dict[int, list[float]] = defaultdict(list)
    for case, drop in drops.items():
        by_label[case.label].append(drop)
    return {label: fmean(values) for label, values in by_label.items()}
