"""The accuracy budget: every limit that a user states, and what follows from it for one label or one case."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from brain_edge.errors import UsageError
from brain_edge.evaluation.evidence import LabelLimit, Limits
from brain_edge_conversion.budget.label_limits import SMALL_ML, LabelDrop, allowed_ml, least_volumes_ml, numbered
from brain_edge_conversion.budget.subjects import USUAL_EXCEEDANCE, subjects_needed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from brain_edge.evaluation.evidence import AccuracyCase
    from brain_edge.spec import Label


USUAL_DISAGREEMENT: Final = 3
"""Default disagreement limit as a multiple of the mean drop limit.

Opposite errors that cancel in the drop may add up to more than the drop, but not to much more."""
USUAL_HD95_INCREASE_MM: Final = 2.0
"""Default HD95 limit: the increase that a reader sees at the border of a mask on voxels of 1 mm."""
USUAL_SPREAD: Final = 2
"""Default limit for a single case as a multiple of the limit for the mean."""
HALF: Final = 0.5
"""Mean limit from which the default limit for a single case (twice the mean's) would allow everything."""


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
        for drop in (self.max_dice_drop, *(each.drop for each in self.label_drops)):
            self._check_drop(drop)
        if not 0 <= self.min_int8_share <= 1:
            raise UsageError(f"expected --min-int8-share between 0 and 1, got {self.min_int8_share:g}")
        self._check_labels()
        self._check_optional()

    def _check_drop(self, drop: float) -> None:
        _require_drop("--max-dice-drop", drop)
        if self.max_case_drop is not None:
            _require_drop("--max-case-drop", self.max_case_drop)
            if self.max_case_drop < drop:
                raise UsageError(
                    f"expected --max-case-drop of at least --max-dice-drop, got {self.max_case_drop:g} and "
                    f"{drop:g}. A mean never drops further than its worst case; raise --max-case-drop"
                )
        elif drop >= HALF:
            raise UsageError(
                f"expected --max-dice-drop below {HALF:g}, got {drop:g}. A single case may drop by twice "
                "as much, so this limit allows everything; lower it, or set --max-case-drop"
            )

    def _check_labels(self) -> None:
        own = [each.label for each in self.label_drops]
        for label in own:
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

    def drop_limit(self, label: int) -> float:
        """The limit for the mean drop of a label."""
        return {each.label: each.drop for each in self.label_drops}.get(label, self.max_dice_drop)

    def case_limit_of(self, label: int) -> float:
        """The limit for the drop of a label in a single case."""
        return USUAL_SPREAD * self.drop_limit(label) if self.max_case_drop is None else self.max_case_drop

    def disagreement_limit_of(self, label: int) -> float:
        """The limit for the mean disagreement of a label."""
        usual = min(USUAL_DISAGREEMENT * self.drop_limit(label), 1.0)
        return usual if self.max_disagreement is None else self.max_disagreement

    def small_labels(self, cases: Iterable[AccuracyCase]) -> Mapping[int, float]:
        """Label -> least volume in ml, for labels that these cases bind by agreement in ml."""
        without = {*self.unbound, *(each.label for each in self.label_drops)}
        least = least_volumes_ml(case for case in cases if case.label not in without)
        return {label: volume_ml for label, volume_ml in least.items() if volume_ml < self.small_label_ml}

    def allowed_ml(self, case: AccuracyCase, *, by_reference: bool) -> float:
        """The mean volume on which both masks of a small label may differ, ml; twice as much in a single case."""
        limit = self.disagreement_limit_of(case.label)
        return allowed_ml(case, limit if by_reference else min(limit, self.drop_limit(case.label)), self.small_label_ml)

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
