"""The verdict on a budget: pure decisions over measured cases."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Final

from brain_edge.errors import UsageError
from brain_edge_conversion.budget.accuracy_budget import HALF, USUAL_DISAGREEMENT, USUAL_SPREAD, AccuracyBudget
from brain_edge_conversion.budget.label_limits import apart_ml
from brain_edge_conversion.budget.subjects import mean_over_subjects

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from brain_edge.evaluation.evidence import AccuracyCase

__all__ = ["AccuracyBudget", "Verdict", "judge", "smallest_budget"]

DROP_STEP: Final = 1e-5
"""Steps in which a budget is proposed: the digits in which Dice is printed."""

LOWEST_DICE: Final = 0.1
"""Smallest mean Dice of the baseline; below it, the model's label and the reference's label are hardly the same."""
ENOUGH_RIGHT: Final = 0.5
"""Fraction of the baseline's best Dice that a case must reach; a case below it may have another patient's reference."""
ENOUGH_OF_AN_ORGAN: Final = 0.85
"""The same fraction for a large label, whose Dice varies little between heads. Brains of other people reach 0.06 to
0.88, most less than 0.83 (`docs/decisions/0034-limits-that-bind.md`)."""
ORGAN_ML: Final = 300.0
"""Smallest mean reference volume of a large label: the brain and its tissues are large, lesions are not."""


@dataclass(frozen=True)
class Verdict:
    """Measured figures and the limits that they exceed.

    Attributes:
        failures: one sentence per exceeded limit; empty if the budget is met.
        worst_mean_drop: largest mean Dice drop over the labels.
        worst_case_drop: largest Dice drop over cases and labels.
        by_reference: True if drops are measured against reference masks; False if no case has a reference and the
            drop is the disagreement with the baseline.
        worst_mean_disagreement: largest mean disagreement over the labels, over the cases that were judged.
        worst_hd95_increase_mm: largest increase over cases and labels, mm; None if HD95 is defined in no case.
        excess: largest figure divided by its limit; at most 1 if every limit on the masks is met.
        drop_excess: the same for the limits that follow from `--max-dice-drop`.
        small: labels that were bound by agreement in ml.
    """

    failures: tuple[str, ...]
    worst_mean_drop: float
    worst_case_drop: float
    by_reference: bool
    worst_mean_disagreement: float | None
    worst_hd95_increase_mm: float | None
    excess: float
    drop_excess: float = 0.0
    small: tuple[int, ...] = ()

    @property
    def met(self) -> bool:
        """True if no limit was missed."""
        return not self.failures


def judge(cases: Sequence[AccuracyCase], share: float, budget: AccuracyBudget) -> Verdict:
    """Compare measured cases with a budget.

    Means are over subjects, each with the mean of its cases: a subject with several visits weighs no more than others.
    A case in which the baseline has little right (see `telling`) can raise a mean, never lower it. Cases with and
    without reference masks are never pooled. If any case has a reference, the cases with references decide; the others
    are bound by the disagreement limit alone (their own mean, and twice the limit for each case). Unbound labels are
    skipped. Small labels are bound by agreement in ml and by distance, not by Dice.

    Raises:
        UsageError: the budget binds no label, or leaves a label without a limit: no deciding case has the label, or the
            baseline finds so little of the label that all of it may be lost.
    """
    bound = [case for case in cases if case.label not in budget.unbound]
    by_reference = any(has_reference(case) for case in bound)
    small = budget.small_labels(bound)
    cases = [case for case in bound if case.label not in small]
    drops = losses(cases)
    _require_accurate(cases, budget)
    if not drops and not small:
        raise UsageError("expected a label to compare, got none in any case of the cohort; add a case that has one")
    _require_decided(cases, telling(drops, budget))
    of_dice = [
        *_drop_limits(drops, budget),
        *_disagreement_limits(cases, budget),
        *_volume_limits([case for case in bound if case.label in small], budget, by_reference=by_reference),
    ]
    limits = [*of_dice, *_distance_limits(bound, budget), *_invention_limits(cases, budget)]
    means = [mean_over_subjects(pairs) for pairs in deciding(drops, budget).values()]
    failures = [limit.failure for limit in limits if not limit.met]
    if share < budget.min_int8_share:
        words = f"{share:.1%} of the multiply-accumulates run in INT8"
        failures.append(f"{words}, expected at least {budget.min_int8_share:.1%}")
    judged = [case for case in cases if has_reference(case) == by_reference]
    increases = [increase for case in bound if (increase := case.hd95_increase_mm) is not None]
    return Verdict(
        failures=tuple(failures),
        worst_mean_drop=max(means, default=0.0),
        worst_case_drop=max(drops.values(), default=0.0),
        by_reference=by_reference,
        worst_mean_disagreement=max(_means_by_label(_disagreements(judged)).values(), default=None),
        worst_hd95_increase_mm=max(increases, default=None),
        excess=max(limit.excess for limit in limits),
        drop_excess=max((limit.excess for limit in of_dice), default=0.0),
        small=tuple(sorted(small)),
    )


def _require_decided(cases: Sequence[AccuracyCase], drops: Mapping[AccuracyCase, float]) -> None:
    seen = {case.label for case in cases if case.agreement is not None}
    for label in sorted(seen - {case.label for case in drops}):
        raise UsageError(
            f"label {label}: no case with a reference mask can judge it (the label is absent, or the baseline finds "
            "too little of it). Add a reference mask that has the label, or judge without reference masks"
        )


def _require_accurate(cases: Sequence[AccuracyCase], budget: AccuracyBudget) -> None:
    """Refuse a label that the baseline hardly finds: the candidate cannot lose it, so it would meet every budget."""
    for label, known in baseline_dice(cases).items():
        if fmean(known) < LOWEST_DICE or max(known) <= budget.case_limit_of(label):
            raise UsageError(
                f"label {label}: the baseline has a mean Dice of only {fmean(known):.5f} with the references, so a "
                f"budget of {budget.drop_limit(label):g} promises nothing. Check that the cohort numbers its labels as "
                f"the model does (`labels` in its manifest), or exclude the label with --unbound {label}"
            )


def baseline_dice(cases: Iterable[AccuracyCase]) -> Mapping[int, list[float]]:
    """Label -> Dice of the baseline in the cases whose reference has the label."""
    by_label: dict[int, list[float]] = defaultdict(list)
    for case in cases:
        if case.dice_baseline is not None and case.reference_volume_ml != 0:
            by_label[case.label].append(case.dice_baseline)
    return by_label


def losses(cases: Sequence[AccuracyCase]) -> Mapping[AccuracyCase, float]:
    """Return the deciding figure of each case: its drop if any case has a reference, else its disagreement."""
    if any(has_reference(case) for case in cases):
        return {case: case.drop for case in cases if case.drop is not None}
    return _disagreements(cases)


def telling(drops: Mapping[AccuracyCase, float], budget: AccuracyBudget) -> Mapping[AccuracyCase, float]:
    """Keep the drops of cases in which the baseline finds enough of the label to lose.

    In the other cases the baseline has less than half of the label's best Dice (0.85 of it for a large label), or no
    more Dice than a single case may lose: a false positive, another patient's reference, another numbering. The drop is
    small there whatever the candidate does, and in a mean it would pay for losses elsewhere.
    """
    best = {label: max(known) for label, known in baseline_dice(drops).items()}
    usual_ml = _usual_volumes_ml(drops)

    def is_telling(case: AccuracyCase) -> bool:
        enough = ENOUGH_OF_AN_ORGAN if usual_ml.get(case.label, 0.0) >= ORGAN_ML else ENOUGH_RIGHT
        least = max(enough * best.get(case.label, 0.0), budget.case_limit_of(case.label))
        return case.dice_baseline is None or case.dice_baseline > least

    return {case: drop for case, drop in drops.items() if is_telling(case)}


def _usual_volumes_ml(cases: Iterable[AccuracyCase]) -> Mapping[int, float]:
    """Label -> mean volume in the references that have the label, ml."""
    volumes_ml: dict[int, list[float]] = defaultdict(list)
    for case in cases:
        if case.reference_volume_ml:
            volumes_ml[case.label].append(case.reference_volume_ml)
    return {label: fmean(known) for label, known in volumes_ml.items()}


def deciding(drops: Mapping[AccuracyCase, float], budget: AccuracyBudget) -> Mapping[int, list[tuple[int, float]]]:
    """Label -> (subject, drop) pairs of its telling cases, or of all cases if their mean is greater."""
    every, some = _by_label(drops), _by_label(telling(drops, budget))
    return {label: max((some.get(label, pairs), pairs), key=mean_over_subjects) for label, pairs in every.items()}


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
        limit = budget.case_limit_of(case.label)
        if case in witnesses or drop > limit:
            yield case.subject, drop / (limit / budget.case_limit)
    by_reference = any(has_reference(case) for case in bound)
    for case in bound:
        if case.label in small and (differ_ml := apart_ml(case)) is not None:
            allowed = USUAL_SPREAD * budget.allowed_ml(case, by_reference=by_reference)
            yield case.subject, differ_ml / allowed * budget.case_limit


def has_reference(case: AccuracyCase) -> bool:
    """Return True if the case was measured against a reference mask, even one without this label."""
    return case.reference_volume_ml is not None or case.drop is not None


@dataclass(frozen=True)
class _Limit:
    """A figure, its limit, and the sentence for a figure above the limit."""

    value: float
    limit: float
    failure: str

    @property
    def met(self) -> bool:
        return self.value <= self.limit

    @property
    def excess(self) -> float:
        if self.limit > 0:
            return self.value / self.limit
        return 1.0 if self.met else 1.0 + self.value  # the user set a limit of 0 mm


def _drop_limits(drops: Mapping[AccuracyCase, float], budget: AccuracyBudget) -> Iterator[_Limit]:
    """Yield the limits on the worst mean of a label and on the worst single case, each as a share of its limit."""
    if not drops:
        return
    means = {label: mean_over_subjects(pairs) for label, pairs in deciding(drops, budget).items()}
    label, mean = max(means.items(), key=lambda item: (item[1] / budget.drop_limit(item[0]), item[1]))
    limit = budget.drop_limit(label)
    yield _Limit(mean, limit, f"mean drop of label {label} is {mean:.5f}, the budget is {limit:g}")
    worst = max(drops, key=lambda case: (drops[case] / budget.case_limit_of(case.label), drops[case]))
    limit = budget.case_limit_of(worst.label)
    words = f"case {worst.case}, label {worst.label} drops by {drops[worst]:.5f}"
    yield _Limit(drops[worst], limit, f"{words}, the limit for a single case is {limit:g}")


def _volume_limits(cases: Sequence[AccuracyCase], budget: AccuracyBudget, *, by_reference: bool) -> Iterator[_Limit]:
    """Yield the limits on the volumes on which the masks of small labels differ: of the mean, and of each case."""
    shares: dict[AccuracyCase, float] = {}
    for case in cases:
        if (differ_ml := apart_ml(case)) is not None:
            allowed = budget.allowed_ml(case, by_reference=by_reference)
            shares[case] = differ_ml / allowed
            words = f"case {case.case}, label {case.label}: the masks differ by {differ_ml:.3g} ml"
            single_ml = USUAL_SPREAD * allowed
            yield _Limit(differ_ml, single_ml, f"{words}, the limit for a single case is {single_ml:.3g} ml")
    for label, share in _means_by_label(shares).items():
        words = (
            f"label {label} is small, and its masks differ by {share:.3g} times the volume that is allowed on average"
        )
        yield _Limit(share, 1.0, words)


def _disagreement_limits(cases: Sequence[AccuracyCase], budget: AccuracyBudget) -> Iterator[_Limit]:
    """Yield the limits on the disagreement, for cases with a reference and for cases without one."""
    for known, what in ((True, "cases with a reference"), (False, "cases without a reference")):
        means = _means_by_label(_disagreements([case for case in cases if has_reference(case) is known]))
        if means:
            label, mean = max(
                means.items(), key=lambda item: (item[1] / budget.disagreement_limit_of(item[0]), item[1])
            )
            limit = budget.disagreement_limit_of(label)
            words = f"mean disagreement of label {label} with the baseline is {mean:.5f} over the {what}"
            yield _Limit(mean, limit, f"{words}, the limit is {limit:g}")
    if any(has_reference(case) for case in cases):
        for case, apart in _disagreements([case for case in cases if not has_reference(case)]).items():
            single = USUAL_SPREAD * budget.disagreement_limit_of(case.label)
            words = f"case {case.case} has no reference, and its masks of label {case.label} disagree by {apart:.5f}"
            yield _Limit(apart, single, f"{words}, the limit for a single case is {single:g}")


def _invention_limits(cases: Sequence[AccuracyCase], budget: AccuracyBudget) -> Iterator[_Limit]:
    """Yield limits on false-positive volume beyond the baseline's, as a fraction of the label's usual volume."""
    volumes_ml = _usual_volumes_ml(cases)
    for case in cases:
        usual_ml = volumes_ml.get(case.label)
        if case.reference_volume_ml == 0 and case.dice_baseline is not None and usual_ml is not None:
            more_ml = case.volume_candidate_ml - case.volume_baseline_ml
            words = (
                f"case {case.case} has no label {case.label} in its reference, and {more_ml:.3g} ml more of it are "
                f"found than by the baseline, the limit is {budget.case_limit_of(case.label) * usual_ml:.3g} ml"
            )
            yield _Limit(more_ml / usual_ml, budget.case_limit_of(case.label), words)


def _distance_limits(cases: Sequence[AccuracyCase], budget: AccuracyBudget) -> Iterator[_Limit]:
    increases = {case: increase for case in cases if (increase := case.hd95_increase_mm) is not None}
    if not increases:
        return
    worst = max(increases, key=lambda case: increases[case] - budget.hd95_limit_mm(case))
    limit = budget.hd95_limit_mm(worst)
    grown = f"grows by {increases[worst]:.2f} mm" if increases[worst] < math.inf else "is lost with the label"
    words = f"HD95 of case {worst.case}, label {worst.label} {grown}, the limit is {limit:.3g} mm"
    yield _Limit(increases[worst], limit, words)


def _disagreements(cases: Sequence[AccuracyCase]) -> Mapping[AccuracyCase, float]:
    return {case: 1.0 - case.agreement for case in cases if case.agreement is not None}


def smallest_budget(verdict: Verdict, budget: AccuracyBudget) -> str:
    """Return a sentence with the smallest limits that the measured drops meet; empty if no drop limit was missed.

    With limits of single labels, or of volumes, the sentence scales all of them together.
    """
    if budget.label_drops or verdict.small:
        return _scaled(verdict, budget)
    mean, case = verdict.worst_mean_drop, verdict.worst_case_drop
    if budget.max_disagreement is None:
        mean = max(mean, (verdict.worst_mean_disagreement or 0.0) / USUAL_DISAGREEMENT)
    if mean <= budget.max_dice_drop and case <= budget.case_limit:
        return ""
    if budget.max_case_drop is None:
        proposed = _rounded_up(max(mean, case / 2))
        return f"smallest --max-dice-drop that these cases meet: {proposed:.5f}" if proposed < HALF else ""
    # floating point may round the mean of equal drops to more than each drop
    proposed = _rounded_up(mean)
    return (
        f"smallest limits that these cases meet: --max-dice-drop {proposed:.5f} "
        f"--max-case-drop {max(proposed, _rounded_up(case)):.5f}"
    )


def _scaled(verdict: Verdict, budget: AccuracyBudget) -> str:
    """Return a sentence with every drop limit times the largest figure as a share of its limit."""
    stated = [("", budget.max_dice_drop), *((f"{each.label}=", each.drop) for each in budget.label_drops)]
    proposed = [(name, _rounded_up(drop * verdict.drop_excess)) for name, drop in stated]
    if verdict.drop_excess <= 1 or max(drop for _, drop in proposed) >= HALF:
        return ""
    words = " ".join(f"--max-dice-drop {name}{drop:.5f}" for name, drop in proposed)
    if budget.max_case_drop is not None:
        words += f" --max-case-drop {_rounded_up(budget.max_case_drop * verdict.drop_excess):.5f}"
    return f"limits that these cases meet: {words}"


def _rounded_up(drop: float) -> float:
    """Round up to the next step, so that the printed number is met; at least one step, because a budget is positive."""
    steps = max(1, math.ceil(drop / DROP_STEP))
    rounded = round(steps * DROP_STEP, 5)
    return rounded if rounded >= drop else round((steps + 1) * DROP_STEP, 5)  # the division may have rounded down


def _means_by_label(drops: Mapping[AccuracyCase, float]) -> Mapping[int, float]:
    return {label: mean_over_subjects(pairs) for label, pairs in _by_label(drops).items()}


def _by_label(drops: Mapping[AccuracyCase, float]) -> Mapping[int, list[tuple[int, float]]]:
    by_label: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for case, drop in drops.items():
        by_label[case.label].append((case.subject, drop))
    return by_label
