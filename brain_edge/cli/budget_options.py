"""The accuracy budget as options of a command: the same for every command that searches under one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from brain_edge.cli.building import build_side, collected
from brain_edge.errors import UsageError

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
        "--confidence", type=float, metavar="P", help="Refuse unless the test subjects bound the next one so."
    ),
    click.option(
        "--unbound", type=int, multiple=True, metavar="LABEL", help="Promise nothing of a label; may be repeated."
    ),
)
_SHARE = click.option(
    "--min-int8-share", type=float, metavar="SHARE", help="Least share of the multiply-adds in INT8 [0.5]."
)


def budget_options(*, shares: bool) -> Callable[[Decorated], Decorated]:
    """The options of a budget, which a command is given as its parameter `budget`, None where none was stated.

    Args:
        shares: whether a least share of INT8 can be asked for; elsewhere the budget binds none.
    """
    limits = (*_LIMITS, _SHARE) if shares else _LIMITS
    return collected("budget", partial(_budget, usual_share=None if shares else 0.0), limits)


def _budget(
    *,
    usual_share: float | None,
    max_dice_drop: float | None,
    unbound: tuple[int, ...],
    **limits: float | None,
) -> AccuracyBudget | None:
    with build_side("an accuracy budget"):
        from brain_edge_conversion.budget.budget import AccuracyBudget

    stated = {name: value for name, value in {"min_int8_share": usual_share, **limits}.items() if value is not None}
    if max_dice_drop is not None:
        return AccuracyBudget(max_dice_drop=max_dice_drop, unbound=unbound, **stated)
    given = [f"--{name.replace('_', '-')}" for name, value in limits.items() if value is not None]
    if given or unbound:
        idle = ", ".join([*given, *["--unbound"] * bool(unbound)])
        raise UsageError(f"{idle} would do nothing without --max-dice-drop: state that too")
    return None
