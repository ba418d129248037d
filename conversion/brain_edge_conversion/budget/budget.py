"""The accuracy budget and the verdict on it: pure decisions over measured cases."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Final

from brain_edge.errors import UsageError
from brain_edge.evaluation.evidence import LabelLimit, Limits
from brain_edge_conversion.budget.label_limits import (
    SMALL_ML,
    LabelDrop,
    allowed_ml,
    apart_ml,
    least_volumes_ml,
    numbered,
)
from brain_edge_conversion.budget.subjects import USUAL_EXCEEDANCE, mean_over_subjects, subjects_needed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from brain_edge.evaluation.evidence import AccuracyCase
    from brain_edge.spec import Label

DROP_STEP: Final = 1e-5
"""Steps in which a budget is proposed: the digits in which Dice is printed."""

USUAL_DISAGREEMENT: Final = 3
"""Default disagreement limit as a multiple of the mean drop limit.

Opposite errors that cancel in the drop may add up to more than the drop, but not to much more."""
USUAL_HD95_INCREASE_MM: Final = 2.0
"""Default HD95 limit: the increase that a reader sees at the border of a mask on voxels of 1 mm."""
USUAL_SPREAD: Final = 2
"""Default limit for a single case as a multiple of the limit for the mean."""
HALF: Final = 0.5
"""Mean limit from which the default limit for a single case (twice the mean's) would allow everything."""
LOWEST_DICE: Final = 0.1
"""Smallest mean Dice of the baseline; below it, the model's label and the reference's label are hardly the same."""
ENOUGH_RIGHT: Final = 0.5
"""Fraction of the baseline's best Dice that a case must reach; a case below it may have another patient's reference."""
ENOUGH_OF_AN_ORGAN: Final = 0.85
"""The same fraction for a large label, whose Dice varies little between heads. Brains of other people reach 0.06 to
0.88, most less than 0.83 (`docs/decisions/0034-limits-that-bind.md`)."""
ORGAN_ML: Final = 300.0
"""Smallest mean reference volume of a large label: the brain and its tissues are large, lesions are not."""


@dataclass(frozen=True, kw_only=True)
class AccuracyBudget:
    """Limits on the accuracy that a cheaper package may lose; Dice limits are between 0 and 1.

    Attributes:
        max_dice_drop: largest mean Dice drop of any label.
        max_case_drop: largest Dice drop of any single case; twice `max_dice_drop` by default.
        min_int8_share: smallest fraction of the multiply-accumulates that must run in INT8. It refuses a package that
            meets its budget because nothing was quantised.
        max_disagreement: largest mean of 1 - Dice(baseline, candidate) of any label; three times `max_dice_drop` by
            default. Opposite errors can cancel in a drop, never in a disagreement.
        max_hd95_increase_mm: largest increase of HD95 in any single case, mm; by default the larger of 2 mm and the
            voxel's diagonal.
        confidence: confidence that at most `max_exceedance` of all subjects exceed the limit for a single case;
            None makes no such claim.
        max_exceedance: largest fraction of subjects above the limit, 0 to 1; 0.1 if only a confidence is stated.
        unbound: labels without any limit, because the network has not learnt them.
        label_drops: largest mean Dice drop of single labels, in place of `max_dice_drop`; the other Dice limits of such
            a label follow from it. By name until `for_labels` finds the values.
        small_label_ml: volume in ml; a label below it in any judged head is bound by agreement in ml instead of Dice,
            unless it has a limit of its own. 0 binds every label by Dice.

    Raises:
        UsageError: a limit binds nothing, or no package can meet it.
    """

    max_dice_drop: float = 0.01
    max_case_drop: float | None = None
    min_int8_share: float = 0.5
    max_disagreement: float | None = None
    max_hd95_increase_mm: float | None = None
    confidence: float | None = None
    max_exceedance: float | None = None
    unbound: tuple[int, ...] = ()
    label_drops: tuple[LabelDrop, ...] = ()
    small_label_ml: float = SMALL_ML

    def __post_init__(self) -> None:
        _require_drop("--max-dice-drop", self.max_dice_drop)
        if self.max_case_drop is not None:
            _require_drop("--max-case-drop", self.max_case_drop)
            if self.max_case_drop < self.max_dice_drop:
                raise UsageError(
                    f"expected --max-case-drop of at least --max-dice-drop, got {self.max_case_drop:g} and "
                    f"{self.max_dice_drop:g}. A mean never drops further than its worst case; raise --max-case-drop"
                )
        elif self.max_dice_drop >= HALF:
            raise UsageError(
                f"expected --max-dice-drop below {HALF:g}, got {self.max_dice_drop:g}. A single case may drop by twice "
                "as much, so this limit allows everything; lower it, or set --max-case-drop"
            )
        if not 0 <= self.min_int8_share <= 1:
            raise UsageError(f"expected --min-int8-share between 0 and 1, got {self.min_int8_share:g}")
        self._check_optional()
        self._check_labels()

    def _check_labels(self) -> None:
        own = [each.label for each in self.label_drops]
        for label in own:
            self.of(label)  # which checks itself
            if own.count(label) > 1:
                raise UsageError(f"expected one --max-dice-drop for label {label}, got {own.count(label)}; remove one")
            if label in self.unbound:
                raise UsageError(f"label {label} has --unbound and --max-dice-drop; remove one of them")

    def _check_optional(self) -> None:
        if self.max_disagreement is not None:
            _require_drop("--max-disagreement", self.max_disagreement)
        if self.max_hd95_increase_mm is not None and not 0 <= self.max_hd95_increase_mm < math.inf:
            raise UsageError(f"expected --max-hd95-increase-mm of 0 mm or more, got {self.max_hd95_increase_mm:g}")
        if self.confidence is not None and not 0 < self.confidence < 1:
            raise UsageError(f"expected --confidence between 0 and 1 (such as 0.95), got {self.confidence:g}")
        if self.max_exceedance is not None:
            if not 0 < self.max_exceedance < 1:
                raise UsageError(
                    f"expected --max-exceedance between 0 and 1 (such as 0.1), got {self.max_exceedance:g}"
                )
            if self.confidence is None:
                raise UsageError("--max-exceedance would have no effect without --confidence; set both")

    def for_labels(self, labels: Sequence[Label]) -> AccuracyBudget:
        """Return the budget with the values of the labels that `label_drops` names.

        Raises:
            UsageError: the model has no such label, or a label has two limits.
        """
        return replace(self, label_drops=numbered(self.label_drops, labels))

    def drop_limit(self, label: int | str) -> float:
        """The limit for the mean drop of a label."""
        return {each.label: each.drop for each in self.label_drops}.get(label, self.max_dice_drop)

    def of(self, label: int | str) -> AccuracyBudget:
        """Return the budget of one label: its own limit as the limit for all."""
        return replace(self, max_dice_drop=self.drop_limit(label), label_drops=())

    def small_labels(self, cases: Iterable[AccuracyCase]) -> Mapping[int, float]:
        """Label -> least volume in ml, for labels that these cases bind by agreement in ml."""
        without = {*self.unbound, *(each.label for each in self.label_drops)}
        least = least_volumes_ml(case for case in cases if case.label not in without)
        return {label: volume_ml for label, volume_ml in least.items() if volume_ml < self.small_label_ml}

    def allowed_ml(self, case: AccuracyCase, *, by_reference: bool) -> float:
        """The mean volume on which both masks of a small label may differ, ml; twice as much in a single case."""
        limit = self.disagreement_limit
        return allowed_ml(case, limit if by_reference else min(limit, self.max_dice_drop), self.small_label_ml)

    @property
    def disagreement_limit(self) -> float:
        """The limit for the mean disagreement of a label without a limit of its own."""
        usual = min(USUAL_DISAGREEMENT * self.max_dice_drop, 1.0)
        return usual if self.max_disagreement is None else self.max_disagreement

    def hd95_limit_mm(self, case: AccuracyCase) -> float:
        """The limit for the increase of HD95 in a case."""
        usual = max(USUAL_HD95_INCREASE_MM, case.voxel_diagonal_mm)
        return usual if self.max_hd95_increase_mm is None else self.max_hd95_increase_mm

    @property
    def subjects_needed(self) -> int:
        """Number of test subjects that the confidence needs; 0 without a confidence."""
        return 0 if self.confidence is None else subjects_needed(self.confidence, self.exceedance_limit)

    @property
    def exceedance_limit(self) -> float:
        """The fraction of all subjects that may exceed the limit for a single case; used only with a confidence."""
        return USUAL_EXCEEDANCE if self.max_exceedance is None else self.max_exceedance

    @property
    def limits(self) -> Limits:
        """The budget as a package carries it."""
        return Limits(
            max_dice_drop=self.max_dice_drop,
            max_case_drop=self.case_limit,
            max_disagreement=self.disagreement_limit if self.disagreement_limit < 1 else None,
            max_hd95_increase_mm=self.max_hd95_increase_mm,
            min_int8_share=self.min_int8_share,
            confidence=self.confidence,
            max_exceedance=None if self.confidence is None else self.exceedance_limit,
            unbound=self.unbound,
            label_drops=tuple(LabelLimit(label=int(each.label), max_dice_drop=each.drop) for each in self.label_drops),
            small_label_ml=self.small_label_ml or None,
        )

    @property
    def case_limit(self) -> float:
        """The limit for a single case of a label without a limit of its own."""
        return USUAL_SPREAD * self.max_dice_drop if self.max_case_drop is None else self.max_case_drop


def _require_drop(name: str, value: float) -> None:
    # the comparison is False for NaN, so NaN is refused
    if not 0 < value < 1:
        raise UsageError(f"expected {name} between 0 and 1 (a Dice drop, such as 0.01), got {value:g}")


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
    cases = [case for case in cases if case.label not in budget.unbound]
    by_reference = any(has_reference(case) for case in cases)
    small = budget.small_labels(cases)
    in_ml = [case for case in cases if case.label in small]
    cases = [case for case in cases if case.label not in small]
    drops = losses(cases)
    _require_accurate(cases, budget)
    if not drops and not small:
        raise UsageError("expected a label to compare, got none in any case of the cohort; add a case that has one")
    _require_decided(cases, telling(drops, budget))
    limits = [
        *_drop_limits(drops, budget),
        *_disagreement_limits(cases, budget),
        *_distance_limits(cases, budget),
        *_invention_limits(cases, budget),
        *_volume_limits(in_ml, budget, by_reference=by_reference),
        *_distance_limits(in_ml, budget),
    ]
    means = [mean_over_subjects(pairs) for pairs in deciding(drops, budget).values()]
    failures = [limit.failure for limit in limits if not limit.met]
    if share < budget.min_int8_share:
        words = f"{share:.1%} of the multiply-accumulates run in INT8"
        failures.append(f"{words}, expected at least {budget.min_int8_share:.1%}")
    judged = [case for case in cases if has_reference(case) == by_reference]
    increases = [increase for case in (*cases, *in_ml) if (increase := case.hd95_increase_mm) is not None]
    return Verdict(
        failures=tuple(failures),
        worst_mean_drop=max(means, default=0.0),
        worst_case_drop=max(drops.values(), default=0.0),
        by_reference=by_reference,
        worst_mean_disagreement=max(_means_by_label(_disagreements(judged)).values(), default=None),
        worst_hd95_increase_mm=max(increases, default=None),
        excess=max(limit.excess for limit in limits),
        drop_excess=max((limit.excess for limit in limits if limit.scales), default=0.0),
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
        _require_found(label, known, budget.of(label))


def _require_found(label: int, known: Sequence[float], budget: AccuracyBudget) -> None:
    if fmean(known) < LOWEST_DICE or max(known) <= budget.case_limit:
        raise UsageError(
            f"label {label}: the baseline has a mean Dice of only {fmean(known):.5f} with the references, so a "
            f"budget of {budget.max_dice_drop:g} promises nothing. Check that the cohort numbers its labels as the "
            f"model does (`labels` in its manifest), or exclude the label with --unbound {label}"
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
        least = max(enough * best.get(case.label, 0.0), budget.of(case.label).case_limit)
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


def has_reference(case: AccuracyCase) -> bool:
    """Return True if the case was measured against a reference mask, even one without this label."""
    return case.reference_volume_ml is not None or case.drop is not None


@dataclass(frozen=True)
class _Limit:
    """A figure, its limit, and the sentence for a figure above the limit.

    `scales` is True if the limit follows from `--max-dice-drop`.
    """

    value: float
    limit: float
    failure: str
    scales: bool = False

    @property
    def met(self) -> bool:
        return self.value <= self.limit

    @property
    def excess(self) -> float:
        if self.limit > 0:
            return self.value / self.limit
        return 1.0 if self.met else 1.0 + self.value  # the user set a limit of 0 mm


def _drop_limits(drops: Mapping[AccuracyCase, float], budget: AccuracyBudget) -> Iterator[_Limit]:
    """Yield the limits on the worst mean of a label and on the worst single case, among labels of the same limit."""
    for limit in dict.fromkeys(budget.drop_limit(case.label) for case in drops):
        own = {case: drop for case, drop in drops.items() if budget.drop_limit(case.label) == limit}
        yield from _drop_limits_of(own, budget.of(next(iter(own)).label))


def _drop_limits_of(drops: Mapping[AccuracyCase, float], budget: AccuracyBudget) -> tuple[_Limit, _Limit]:
    means = {label: mean_over_subjects(pairs) for label, pairs in deciding(drops, budget).items()}
    label, mean = max(means.items(), key=lambda item: item[1])
    worst = max(drops, key=lambda case: drops[case])
    words = f"mean drop of label {label} is {mean:.5f}, the budget is {budget.max_dice_drop:g}"
    case_words = (
        f"case {worst.case}, label {worst.label} drops by {drops[worst]:.5f}, "
        f"the limit for a single case is {budget.case_limit:g}"
    )
    return (
        _Limit(mean, budget.max_dice_drop, words, scales=True),
        _Limit(drops[worst], budget.case_limit, case_words, scales=True),
    )


def _volume_limits(cases: Sequence[AccuracyCase], budget: AccuracyBudget, *, by_reference: bool) -> Iterator[_Limit]:
    """Yield the limits on the volumes on which the masks of small labels differ: of the mean, and of each case."""
    shares: dict[AccuracyCase, float] = {}
    for case in cases:
        if (differ_ml := apart_ml(case)) is not None:
            allowed = budget.allowed_ml(case, by_reference=by_reference)
            shares[case] = differ_ml / allowed
            words = f"case {case.case}, label {case.label}: the masks differ by {differ_ml:.3g} ml"
            single_ml = USUAL_SPREAD * allowed
            yield _Limit(
                differ_ml, single_ml, f"{words}, the limit for a single case is {single_ml:.3g} ml", scales=True
            )
    for label, share in _means_by_label(shares).items():
        words = (
            f"label {label} is small, and its masks differ by {share:.3g} times the volume that is allowed on average"
        )
        yield _Limit(share, 1.0, words, scales=True)


def _disagreement_limits(cases: Sequence[AccuracyCase], budget: AccuracyBudget) -> Iterator[_Limit]:
    """Yield the limits on the disagreement, for cases with a reference and for cases without one."""
    for known, what in ((True, "cases with a reference"), (False, "cases without a reference")):
        means = _means_by_label(_disagreements([case for case in cases if has_reference(case) is known]))
        if means:
            label, mean = max(
                means.items(), key=lambda item: (item[1] / budget.of(item[0]).disagreement_limit, item[1])
            )
            limit = budget.of(label).disagreement_limit
            words = f"mean disagreement of label {label} with the baseline is {mean:.5f} over the {what}"
            yield _Limit(mean, limit, f"{words}, the limit is {limit:g}", scales=budget.max_disagreement is None)
    if any(has_reference(case) for case in cases):
        for case, apart in _disagreements([case for case in cases if not has_reference(case)]).items():
            single = USUAL_SPREAD * budget.of(case.label).disagreement_limit
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
                f"found than by the baseline, the limit is {budget.of(case.label).case_limit * usual_ml:.3g} ml"
            )
            yield _Limit(more_ml / usual_ml, budget.of(case.label).case_limit, words)


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
