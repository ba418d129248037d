"""The accuracy budget as options of a command: the same for every command that searches under one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import reduce
from typing import TYPE_CHECKING

import click

from brain_edge.cli.options import gathered
from brain_edge.errors import UsageError
from brain_edge.verbs.build_side import build_side

if TYPE_CHECKING:
    from collections.abc import Callable

    from brain_edge.cli.options import Decorated
    from brain_edge_conversion.budget.budget import AccuracyBudget

_LIMITS = (
    click.option(
        "--max-dice-drop", type=float, metavar="DROP", help="Greatest mean Dice drop of a label; must be given."
    ),
    click.option("--max-case-drop", type=float, metavar="DROP", help="Greatest drop of one case [twice the mean's]."),
    click.option(
        "--max-disagreement", type=float, metavar="DROP", help="Greatest mean 1 - Dice(before, after) of a label."
    ),
    click.option("--max-hd95-increase-mm", type=float, metavar="MM", help="Greatest increase of HD95 in one case."),
    click.option(
        "--confidence", type=float, metavar="P", help="Refuse unless the test subjects are enough for this confidence."
    ),
    click.option(
        "--max-exceedance", type=float, metavar="SHARE", help="With it: of subjects beyond the case's limit [0.1]."
    ),
    click.option(
        "--unbound", type=int, multiple=True, metavar="LABEL", help="Promise nothing of a label; may be repeated."
    ),
)
_SHARE = click.option(
    "--min-int8-share", type=float, metavar="SHARE", help="Least share of the multiply-adds in INT8 [0.5]."
)


@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """The limits of a budget as they were typed; None where one was not. `AccuracyBudget` says what each is."""

    max_dice_drop: float | None
    max_case_drop: float | None
    max_disagreement: float | None
    max_hd95_increase_mm: float | None
    confidence: float | None
    max_exceedance: float | None
    unbound: tuple[int, ...]
    min_int8_share: float | None = None

    def budget(self, min_int8_share: float) -> AccuracyBudget | None:
        """The budget, or None where nothing was stated.

        Args:
            min_int8_share: where none was typed.

        Raises:
            UsageError: a limit without the one that every budget has, or one that cannot bind.
        """
        if self.max_dice_drop is None:
            self._require_nothing()
            return None
        with build_side("an accuracy budget"):
            from brain_edge_conversion.budget.budget import AccuracyBudget

        return AccuracyBudget(
            max_dice_drop=self.max_dice_drop,
            max_case_drop=self.max_case_drop,
            max_disagreement=self.max_disagreement,
            max_hd95_increase_mm=self.max_hd95_increase_mm,
            confidence=self.confidence,
            max_exceedance=self.max_exceedance,
            unbound=self.unbound,
            min_int8_share=min_int8_share if self.min_int8_share is None else self.min_int8_share,
        )

    def _require_nothing(self) -> None:
        idle = [f"--{name.replace('_', '-')}" for name, value in asdict(self).items() if value not in (None, ())]
        if idle:
            raise UsageError(f"{', '.join(idle)} would do nothing without --max-dice-drop: state that too")


def budget_options(*, shares: bool) -> Callable[[Decorated], Decorated]:
    """The options of a budget, which a command is given as its parameter `limits`.

    Args:
        shares: whether a least share of INT8 can be asked for; elsewhere the budget binds none.
    """
    options = (*_LIMITS, _SHARE) if shares else _LIMITS
    names = tuple(field.name for field in fields(LimitOptions) if shares or field.name != "min_int8_share")

    def decorate(function: Decorated) -> Decorated:
        return reduce(
            lambda inner, option: option(inner), reversed(options), gathered("limits", LimitOptions, *names)(function)
        )

    return decorate


def require_budget(limits: LimitOptions, what: str, min_int8_share: float) -> AccuracyBudget:
    """The budget that was stated.

    Raises:
        MissingParameter: none was; `what` says what to do.
    """
    budget = limits.budget(min_int8_share)
    if budget is None:
        raise click.MissingParameter(what, param_hint="'--max-dice-drop'", param_type="option")
    return budget
