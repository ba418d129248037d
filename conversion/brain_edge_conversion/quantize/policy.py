"""What to try next: pure decisions over what was tried. Nothing here measures, and nothing here knows NNCF.

First the ladder, until a setting meets the budget. Then groups of layers of the best setting go back to floating
point in the order of their rank: one, two, four, ... until the budget is met, and then as few as will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from brain_edge.spec import Value
from brain_edge_conversion.quantize.ladder import Setting
from brain_edge_conversion.search.space import Stop

if TYPE_CHECKING:
    from collections.abc import Sequence


class Group(Value, frozen=True):
    """Layers that read the same quantised activation, so that one of them alone in float would gain little."""

    graph: str
    layers: tuple[str, ...]


class Trial(Value, frozen=True):
    """Something to try: a setting, and groups that stay in floating point on top of it."""

    setting: Setting
    reverted: tuple[Group, ...] = ()


class TrialOutcome(Value, frozen=True):
    """What became of a trial.

    Attributes:
        trial: what was tried.
        excess: the largest measured figure as a share of its limit.
        int8_share: of the multiply-adds.
        met: whether every limit was met.
    """

    trial: Trial
    excess: float
    int8_share: float
    met: bool


@dataclass(frozen=True)
class Rank:
    """Before anything else can be decided, the groups of this trial must be ranked."""

    base: Trial


Decision: TypeAlias = "Trial | Rank | Stop[Trial]"


def next_trial(
    history: Sequence[TrialOutcome], ladder: Sequence[Setting], ranked: Sequence[Group] | None, min_int8_share: float
) -> Decision:
    """What to do after `history`.

    Args:
        history: what was tried, in order.
        ladder: settings, the fastest first.
        ranked: groups of the best setting, the one to revert first in front; None while they are not ranked.
        min_int8_share: a trial below it ends the search, since whatever follows quantises less still.
    """
    rungs = [outcome for outcome in history if not outcome.trial.reverted]
    for outcome in rungs:
        if outcome.met:
            return Stop(outcome.trial, "a setting of the ladder meets the budget")
    if len(rungs) < len(ladder):
        return Trial(setting=ladder[len(rungs)])
    base = best(rungs, min_int8_share)
    if base is None:
        return Stop(None, "no setting quantises enough of the network")
    if ranked is None:
        return Rank(base.trial)
    return _revert(history, base.trial, ranked, min_int8_share)


def least_reverted(history: Sequence[TrialOutcome]) -> Trial | None:
    """Of what meets the budget the trial with the fewest groups in float; None where nothing does."""
    met = [outcome.trial for outcome in history if outcome.met]
    return min(met, key=lambda trial: len(trial.reverted), default=None)


def best(outcomes: Sequence[TrialOutcome], min_int8_share: float) -> TrialOutcome | None:
    """The outcome that exceeds its limits least among those that quantise enough; the earlier one if equal."""
    enough = [outcome for outcome in outcomes if outcome.int8_share >= min_int8_share]
    return min(enough, key=lambda outcome: outcome.excess, default=None)


def _revert(history: Sequence[TrialOutcome], base: Trial, ranked: Sequence[Group], min_int8_share: float) -> Decision:
    """Double the number of reverted groups until the budget is met, then halve the interval that is left."""
    tried = {len(outcome.trial.reverted): index for index, outcome in enumerate(history) if outcome.trial.reverted}
    met = min((count for count, index in tried.items() if history[index].met), default=None)
    failed = max((count for count, index in tried.items() if not history[index].met), default=0)
    if met is None:
        if tried and history[tried[failed]].int8_share < min_int8_share:
            return Stop(None, "reverting more layers would leave too little in INT8")
        if failed >= len(ranked):
            return Stop(None, "with every group that can be reverted the budget is still missed")
        return _prefix(base, ranked, min(max(1, 2 * failed), len(ranked)))
    below = max((count for count in tried if count < met and not history[tried[count]].met), default=0)
    if met - below > 1:
        return _prefix(base, ranked, (met + below) // 2)
    return Stop(
        history[tried[met]].trial, f"{met} group(s) of layers in floating point meet the budget, {below} do not"
    )


def _prefix(base: Trial, ranked: Sequence[Group], count: int) -> Trial:
    return Trial(setting=base.setting, reverted=tuple(ranked[:count]))
