"""Limits of single labels: a Dice drop of their own, and agreement in ml where a label is small. Pure functions.

A Dice of a small label is a figure of a few voxels: 20 of them are 0.01 of 2 ml at 1 mm. So a label below `SMALL_ML` in
any judged head is bound by the volume on which both masks differ (`docs/decisions/0046-budgets-per-label.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from brain_edge.errors import UsageError
from brain_edge.machine.nearest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from brain_edge.evaluation.evidence import AccuracyCase
    from brain_edge.spec import Label

SMALL_ML: Final = 2.0
"""Volume below which a label is small, ml."""


@dataclass(frozen=True)
class LabelDrop:
    """Largest mean Dice drop of one label.

    Attributes:
        label: value or name of the label.
        drop: limit, between 0 and 1.
    """

    label: int | str
    drop: float


def numbered(drops: Iterable[LabelDrop], labels: Sequence[Label]) -> tuple[LabelDrop, ...]:
    """Return the limits with the value of each label in place of its name.

    Raises:
        UsageError: the model has no such label.
    """
    return tuple(LabelDrop(_value(each.label, labels), each.drop) for each in drops)


def _value(wanted: int | str, labels: Sequence[Label]) -> int:
    known = {str(label.value): label.value for label in labels} | {label.name: label.value for label in labels}
    if str(wanted) not in known:
        there = ", ".join(f"{label.value} {label.name}" for label in labels)
        hint = did_you_mean(str(wanted), [label.name for label in labels])
        raise UsageError(f"--max-dice-drop: expected a label of the model ({there}), got {str(wanted)!r}{hint}")
    return known[str(wanted)]


def least_volumes_ml(cases: Iterable[AccuracyCase]) -> Mapping[int, float]:
    """Label -> least volume in a head that has the label, ml; by the reference, else by the baseline's mask."""
    least: dict[int, float] = {}
    for case in cases:
        volume_ml = case.volume_baseline_ml if case.reference_volume_ml is None else case.reference_volume_ml
        if volume_ml > 0:
            least[case.label] = min(volume_ml, least.get(case.label, volume_ml))
    return least


def apart_ml(case: AccuracyCase) -> float | None:
    """Return the volume that belongs to one of both masks alone, ml; None if neither mask has the label."""
    if case.agreement is None:
        return None
    return (1.0 - case.agreement) * (case.volume_baseline_ml + case.volume_candidate_ml)


def allowed_ml(case: AccuracyCase, limit: float, small_ml: float) -> float:
    """Return the volume on which both masks may differ, ml.

    It is what the limit on 1 - Dice allows masks of their mean volume, or of `small_ml` if they are smaller.
    """
    mean_ml = (case.volume_baseline_ml + case.volume_candidate_ml) / 2
    return limit * 2 * max(mean_ml, small_ml)
