"""Options of the accuracy budget, the same for every command that searches within one."""

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
    click.option("--max-dice-drop", type=float, metavar="DROP", help="Maximum mean Dice drop of any label; required."),
    click.option(
        "--max-case-drop", type=float, metavar="DROP", help="Maximum Dice drop of one case [twice --max-dice-drop]."
    ),
    click.option(
        "--max-disagreement",
        type=float,
        metavar="DROP",
        help="Maximum mean of 1 - Dice between the masks before and after, of any label.",
    ),
    click.option("--max-hd95-increase-mm", type=float, metavar="MM", help="Maximum increase of HD95 in one case."),
    click.option(
        "--confidence",
        type=float,
        metavar="P",
        help="Required confidence in --max-exceedance, such as 0.95; takes many test subjects.",
    ),
    click.option(
        "--max-exceedance",
        type=float,
        metavar="SHARE",
        help="Maximum fraction of all people that may exceed --max-case-drop; for --confidence [0.1].",
    ),
    click.option(
        "--unbound", type=int, multiple=True, metavar="LABEL", help="Label that no limit applies to; may be repeated."
    ),
)
_SHARE = click.option(
    "--min-int8-share",
    type=float,
    metavar="SHARE",
    help="Minimum fraction of multiply-accumulates that run in INT8 [0.5].",
)


@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """Limits of a budget as typed, None where a limit is missing; `AccuracyBudget` explains each."""

    max_dice_drop: float | None
    max_case_drop: float | None
    max_disagreement: float | None
    max_hd95_increase_mm: float | None
    confidence: float | None
    max_exceedance: float | None
    unbound: tuple[int, ...]
    min_int8_share: float | None = None

    def budget(self, min_int8_share: float) -> AccuracyBudget | None:
        """Return the budget, or None where no limit was typed.

        Args:
            min_int8_share: minimum INT8 fraction where none was typed.

        Raises:
            UsageError: `--max-dice-drop` is missing beside another limit, or a limit cannot bind.
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
            raise UsageError(f"expected --max-dice-drop with {', '.join(idle)}, got none; add --max-dice-drop")


def budget_options(*, shares: bool) -> Callable[[Decorated], Decorated]:
    """Add the options of a budget as the parameter `limits` of a command.

    Args:
        shares: True to offer `--min-int8-share`; otherwise the budget sets no minimum.
    """
    options = (*_LIMITS, _SHARE) if shares else _LIMITS
    names = tuple(field.name for field in fields(LimitOptions) if shares or field.name != "min_int8_share")

    def decorate(function: Decorated) -> Decorated:
        return reduce(
            lambda inner, option: option(inner), reversed(options), gathered("limits", LimitOptions, *names)(function)
        )

    return decorate


def require_budget(limits: LimitOptions, what: str, min_int8_share: float) -> AccuracyBudget:
    """Return the stated budget.

    Raises:
        MissingParameter: no budget was stated; the message gives `what` as the remedy.
    """
    budget = limits.budget(min_int8_share)
    if budget is None:
        raise click.MissingParameter(what, param_hint="'--max-dice-drop'", param_type="option")
    return budget
