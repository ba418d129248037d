"""The accuracy budget as keywords, the same for every verb that searches under one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from brain_edge.verbs.build_side import build_side

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from brain_edge_conversion.budget.budget import AccuracyBudget


class LimitsOfAll(TypedDict, total=False):
    """Further limits of an accuracy budget that hold for every label; the usual limit holds where one is left out.

    Attributes:
        max_case_drop: greatest Dice drop of a single case, 0 to 1; twice the limit of the mean by default.
        max_disagreement: greatest mean of 1 - Dice(before, after) of a label, 0 to 1; three times the limit of the mean
            drop by default.
        max_hd95_increase_mm: greatest increase of HD95 in one case, in mm; 2 mm or a voxel's diagonal by default.
        confidence: confidence that the test subjects must suffice for, 0 to 1; no claim by default.
        max_exceedance: share of subjects that may exceed the limit of a case, 0 to 1; 0.1 by default.
        unbound: label values that nothing is promised of.
    """

    max_case_drop: float | None
    max_disagreement: float | None
    max_hd95_increase_mm: float | None
    confidence: float | None
    max_exceedance: float | None
    unbound: tuple[int, ...]


class BudgetLimits(LimitsOfAll, total=False):
    """Further limits of an accuracy budget, those of single labels too.

    Attributes:
        label_drops: label, by name or value -> greatest mean Dice drop of that label, 0 to 1, such as
            `{"necrosis": 0.02}`.
    """

    label_drops: Mapping[str, float] | Mapping[int, float]


def budget_of(
    max_dice_drop: float,
    min_int8_share: float,
    label_drops: Mapping[str, float] | Mapping[int, float] | None = None,
    **limits: Unpack[LimitsOfAll],
) -> AccuracyBudget:
    """Return the budget of these limits.

    Raises:
        UsageError: a limit that cannot bind, or that nothing can meet.
        MissingExtraError: the build side is not installed.
    """
    with build_side("an accuracy budget"):
        from brain_edge_conversion.budget.budget import AccuracyBudget
        from brain_edge_conversion.budget.label_limits import LabelDrop

    drops = tuple(LabelDrop(label, drop) for label, drop in (label_drops or {}).items())
    return AccuracyBudget(max_dice_drop=max_dice_drop, min_int8_share=min_int8_share, label_drops=drops, **limits)
