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
    click.option(
        "--max-dice-drop",
        multiple=True,
        metavar="[LABEL=]DROP",
        help="Maximum mean Dice drop of any label; required. With LABEL= (name or number), of that label.",
    ),
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

    max_dice_drop: tuple[str, ...]
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
        of_all, of_labels = drops_in(self.max_dice_drop)
        if of_all is None:
            self._require_nothing()
            return None
        with build_side("an accuracy budget"):
            from brain_edge_conversion.budget.budget import AccuracyBudget
            from brain_edge_conversion.budget.label_limits import LabelDrop

        return AccuracyBudget(
            max_dice_drop=of_all,
            label_drops=tuple(LabelDrop(label, drop) for label, drop in of_labels),
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


def drops_in(typed: tuple[str, ...]) -> tuple[float | None, list[tuple[str, float]]]:
    """Return the limit of all labels, None where none was typed, and the limits of single labels.

    >>> drops_in(("0.01", "necrosis=0.02"))
    (0.01, [('necrosis', 0.02)])

    Raises:
        UsageError: a text is no limit, or there is no limit, or more than one, for all labels.
    """
    drops = [_drop_in(text) for text in typed]
    of_labels = [(label, drop) for label, drop in drops if label]
    of_all = [drop for label, drop in drops if not label]
    if len(of_all) > 1:
        raise UsageError(
            f"expected one --max-dice-drop for all labels, got {len(of_all)}; write LABEL=DROP for a label"
        )
    if of_labels and not of_all:
        raise UsageError(
            f"expected --max-dice-drop for all other labels beside {of_labels[0][0]}={of_labels[0][1]:g}, got none; "
            "add one, such as --max-dice-drop 0.01"
        )
    return (of_all[0] if of_all else None), of_labels


def _drop_in(text: str) -> tuple[str, float]:
    label, _, drop = ("", "", text) if text.startswith("=") else text.rpartition("=")
    try:
        return label, float(drop)
    except ValueError as error:
        raise UsageError(f"expected --max-dice-drop as 0.01 or LABEL=0.02, got {text!r}; correct the limit") from error


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
