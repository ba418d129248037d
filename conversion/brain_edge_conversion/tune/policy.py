"""Choice of the next setting and of the final one: pure decisions over measurements.

Cheap trials come first, because they are quick: the cheapest setting of all, then that setting with one dial at a time
back at the package's own level. If none meets the budget, the search climbs dial by dial, largest gain per operation
first. If this fails too, it tries the settings next to the package as it is. Finally the cheapest setting that meets
the budget is made cheaper, one level of one dial at a time, until no step is left. Only accuracies and counted
operations decide, never a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brain_edge_conversion.search.space import Stop

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from brain_edge_conversion.tune.settings import Setting


@dataclass(frozen=True)
class SettingOutcome:
    """Outcome of a trial.

    Attributes:
        setting: setting that was tried.
        operations: cost of the networks over all cases, f32 multiply-accumulates; infinite if the trial could not run.
        resampling: saving in resampling, in levels.
        excess: largest figure divided by its limit; infinite if the trial could not run.
        met: True if the masks meet the budget.
    """

    setting: Setting
    operations: float
    resampling: int
    excess: float
    met: bool

    @property
    def cost(self) -> tuple[float, int, int, Setting]:
        """Sort key of a setting: operations, then resampling, then the fewest changes.

        The dials come last, so that the order is total.
        """
        return self.operations, -self.resampling, sum(self.setting), self.setting


def next_setting(sizes: Sequence[int], history: Sequence[SettingOutcome]) -> Setting | Stop[Setting]:
    """Return the setting to try next: never one that was tried, never the package as it is.

    Args:
        sizes: number of levels of each dial; level 0 is the package's own.
        history: outcomes of all trials so far, in any order.
    """
    tried = {outcome.setting: outcome for outcome in history}
    if (first := _untried(_first_settings(sizes), tried)) is not None:
        return first
    if not any(outcome.met for outcome in history):
        lower = (*_climb(sizes, tried), *_one_lower(sizes, (0,) * len(sizes)))
        if (cheaper := _untried(lower, tried)) is not None:
            return cheaper
        return Stop(None, "no setting that is cheaper than the package as it is meets the budget")
    best = cheapest(history)
    if (lower_still := _untried(_one_lower(sizes, best), tried)) is not None:
        return lower_still
    if best == tuple(size - 1 for size in sizes):
        return Stop(best, "nothing cheaper can be tried")
    return Stop(best, "one step cheaper on any dial misses the budget or saves nothing")


def _untried(settings: Iterable[Setting], tried: Container[Setting]) -> Setting | None:
    """Return the first setting that was not tried; None where all were."""
    return next((setting for setting in settings if setting not in tried), None)


def cheapest(history: Sequence[SettingOutcome]) -> Setting:
    """Return the cheapest setting that meets the budget.

    Raises:
        ValueError: no setting meets the budget.
    """
    return min((outcome for outcome in history if outcome.met), key=lambda outcome: outcome.cost).setting


def _first_settings(sizes: Sequence[int]) -> Iterator[Setting]:
    """Yield the cheapest setting of all, then that setting with each dial alone back at the package's own level."""
    floor = tuple(size - 1 for size in sizes)
    yield floor
    for dial, size in enumerate(sizes):
        probe = _with(floor, dial, 0)
        if size > 1 and any(probe):
            yield probe


def _climb(sizes: Sequence[int], tried: dict[Setting, SettingOutcome]) -> Iterator[Setting]:
    """Yield settings from the cheapest up, one level at a time, without the package as it is at the end."""
    floor = tuple(size - 1 for size in sizes)
    dials = [dial for dial, size in enumerate(sizes) if size > 1]
    dials.sort(key=lambda dial: -_gain(tried[floor], tried.get(_with(floor, dial, 0))))
    setting = floor
    for dial in dials:
        while setting[dial]:
            setting = _with(setting, dial, setting[dial] - 1)
            if any(setting):
                yield setting


def _gain(floor: SettingOutcome, probe: SettingOutcome | None) -> float:
    """Return the reduction of the excess per operation that a dial adds; infinite for a single dial."""
    if probe is None:
        return math.inf
    if math.isinf(floor.excess):
        # a setting that can run comes first
        return -math.inf if math.isinf(probe.excess) else math.inf
    gained, added = floor.excess - probe.excess, probe.operations - floor.operations
    if gained <= 0:
        return gained
    return gained / added if added > 0 else math.inf


def _one_lower(sizes: Sequence[int], setting: Setting) -> Iterator[Setting]:
    for dial, size in enumerate(sizes):
        if setting[dial] < size - 1:
            yield _with(setting, dial, setting[dial] + 1)


def _with(setting: Setting, dial: int, level: int) -> Setting:
    return (*setting[:dial], level, *setting[dial + 1 :])
