"""Choice of the next trial: pure decisions over past trials, without measurements and without NNCF.

First the ladder is tried until a setting meets the budget; its last settings change weights. Otherwise groups of layers
of the best setting are set back to floating point in the order of their rank: one, two, four, ... until the budget is
met. Bisection then finds the smallest number that meets it. The best setting is one without a distillation, because
each of these trials would be trained anew. Before a refusal, each group is set back alone, so that the report shows
what each of them costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from brain_edge.spec import Value
from brain_edge_conversion.quantize.ladder import Setting, Weights
from brain_edge_conversion.search.space import Stop

if TYPE_CHECKING:
    from collections.abc import Sequence


class Group(Value, frozen=True):
    """Layers that read the same quantised activation; setting only one of them to float would gain little."""

    graph: str
    layers: tuple[str, ...]


class Trial(Value, frozen=True):
    """Candidate of a quantisation: a setting, and groups that additionally stay in floating point."""

    setting: Setting
    reverted: tuple[Group, ...] = ()


class TrialOutcome(Value, frozen=True):
    """Outcome of a trial.

    Attributes:
        trial: candidate that was tried.
        excess: largest measured figure divided by its limit.
        int8_share: INT8 fraction of the multiply-accumulates.
        met: True if every limit was met.
    """

    trial: Trial
    excess: float
    int8_share: float
    met: bool


@dataclass(frozen=True)
class Rank:
    """Request to rank the groups of this trial before the next decision."""

    base: Trial


Decision: TypeAlias = "Trial | Rank | Stop[Trial]"


def next_trial(
    history: Sequence[TrialOutcome], ladder: Sequence[Setting], ranked: Sequence[Group] | None, min_int8_share: float
) -> Decision:
    """Return the decision after `history`.

    Args:
        history: outcomes of past trials, in order.
        ladder: settings, fastest first.
        ranked: groups of the best setting, in the order of reverting; None if they are not ranked yet.
        min_int8_share: smallest INT8 fraction; a trial below it ends the search, because later trials quantise less.
    """
    rungs = [outcome for outcome in history if not outcome.trial.reverted]
    for outcome in rungs:
        if outcome.met:
            return Stop(outcome.trial, _met_by(outcome.trial.setting))
    if len(rungs) < len(ladder):
        return Trial(setting=ladder[len(rungs)])
    base = best([outcome for outcome in rungs if not outcome.trial.setting.distilled], min_int8_share)
    if base is None:
        return Stop(None, "no setting quantises enough of the network")
    if ranked is None:
        return Rank(base.trial)
    decision = _revert(history, base.trial, ranked, min_int8_share)
    if isinstance(decision, Stop) and decision.chosen is None:
        return _each_alone(history, ranked, min_int8_share, decision)
    return decision


def _met_by(setting: Setting) -> str:
    if setting.weights is Weights.AS_TRAINED:
        return "a setting of the ladder meets the budget"
    return "no setting meets the budget with the weights as trained; with changed weights it is met"


def least_reverted(history: Sequence[TrialOutcome]) -> Trial | None:
    """Return the trial with the fewest groups in float that meets the budget, or None."""
    met = [outcome.trial for outcome in history if outcome.met]
    return min(met, key=lambda trial: len(trial.reverted), default=None)


def best(outcomes: Sequence[TrialOutcome], min_int8_share: float) -> TrialOutcome | None:
    """Return the outcome with the smallest excess among those that quantise enough; the earlier one if equal."""
    enough = [outcome for outcome in outcomes if outcome.int8_share >= min_int8_share]
    return min(enough, key=lambda outcome: outcome.excess, default=None)


def _revert(history: Sequence[TrialOutcome], base: Trial, ranked: Sequence[Group], min_int8_share: float) -> Decision:
    """Double the number of reverted groups until the budget is met, then bisect the remaining interval."""
    prefixes = {_prefix(base, ranked, count): count for count in range(1, len(ranked) + 1)}
    tried = {prefixes[found.trial]: index for index, found in enumerate(history) if found.trial in prefixes}
    met = min((count for count, index in tried.items() if history[index].met), default=None)
    failed = max((count for count, index in tried.items() if not history[index].met), default=0)
    if met is None:
        if tried and history[tried[failed]].int8_share < min_int8_share:
            return Stop(None, "reverting more layers would leave too little in INT8")
        if failed >= len(ranked):
            return Stop(None, "the budget is missed even with every group reverted that can be")
        return _prefix(base, ranked, min(max(1, 2 * failed), len(ranked)))
    below = max((count for count in tried if count < met and not history[tried[count]].met), default=0)
    if met - below > 1:
        return _prefix(base, ranked, (met + below) // 2)
    return Stop(
        history[tried[met]].trial, f"{met} group(s) of layers in floating point meet the budget, {below} do not"
    )


def _each_alone(
    history: Sequence[TrialOutcome], ranked: Sequence[Group], min_int8_share: float, refusal: Stop[Trial]
) -> Decision:
    """Revert the next group alone, with weights as trained, since a fit for each group would take hours."""
    rungs = [found for found in history if not found.trial.reverted]
    base = best([found for found in rungs if found.trial.setting.weights is Weights.AS_TRAINED], min_int8_share)
    if base is None:
        return refusal
    met = {found.trial: found.met for found in history}
    for group in ranked:
        alone = Trial(setting=base.trial.setting, reverted=(group,))
        if alone not in met:
            return alone
        if met[alone]:
            return Stop(alone, "one group of layers in floating point meets the budget")
    return refusal


def _prefix(base: Trial, ranked: Sequence[Group], count: int) -> Trial:
    return Trial(setting=base.setting, reverted=tuple(ranked[:count]))
