"""Which setting is tried next, and which is chosen: pure decisions over what was measured.

Cheap trials first, because they cost little to make: the cheapest setting of all, then what each dial alone gives back.
Only where none of these will do does the search climb, dial by dial, the one that gains most per operation first, and
only where that leads nowhere does it try what is next to the package as it is. At the end the cheapest setting that
meets the budget is made cheaper still, one level of one dial at a time, until no such step is left. Only accuracies and
counted operations decide, never a time.
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
    """What a trial has shown.

    Attributes:
        setting: what was tried.
        operations: of the networks over all cases, in multiply-adds of f32; infinite where it could not be run.
        resampling: how much cheaper its resampling is, in levels.
        excess: the largest figure as a share of its limit; infinite where it could not be run.
        met: whether the masks stay within the budget.
    """

    setting: Setting
    operations: float
    resampling: int
    excess: float
    met: bool

    @property
    def cost(self) -> tuple[float, int, int, Setting]:
        """What settings are ordered by: operations, resampling, and of equals the one that changes least.

        The dials themselves come last, so that the order is total.
        """
        return self.operations, -self.resampling, sum(self.setting), self.setting


def next_setting(sizes: Sequence[int], history: Sequence[SettingOutcome]) -> Setting | Stop[Setting]:
    """The setting to try next, never one that was tried and never the package as it is.

    Args:
        sizes: levels of each dial, 0 is the package's own.
        history: all trials so far, in any order.
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
    return Stop(best, "one step cheaper on any dial, and the budget is missed or nothing gained")


def _untried(settings: Iterable[Setting], tried: Container[Setting]) -> Setting | None:
    """Return the first setting that was not tried; None where all were."""
    return next((setting for setting in settings if setting not in tried), None)


def cheapest(history: Sequence[SettingOutcome]) -> Setting:
    """The cheapest setting that meets the budget.

    Raises:
        ValueError: none does.
    """
    return min((outcome for outcome in history if outcome.met), key=lambda outcome: outcome.cost).setting


def _first_settings(sizes: Sequence[int]) -> Iterator[Setting]:
    """The cheapest of all, then each dial alone back at the package's own."""
    floor = tuple(size - 1 for size in sizes)
    yield floor
    for dial, size in enumerate(sizes):
        probe = _with(floor, dial, 0)
        if size > 1 and any(probe):
            yield probe


def _climb(sizes: Sequence[int], tried: dict[Setting, SettingOutcome]) -> Iterator[Setting]:
    """From the cheapest of all up, one level at a time, without the package as it is at the end."""
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
    """How much nearer to the budget a dial brings, for each operation that it adds; an only dial brings all."""
    if probe is None:
        return math.inf
    if math.isinf(floor.excess):
        # what can be run at all comes first
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
