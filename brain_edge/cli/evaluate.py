"""`brain-edge evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brain_edge.cli.budget_options import budget_options
from brain_edge.cli.building import quiet_option, reporter
from brain_edge.cli.failure import say
from brain_edge.cli.options import (
    NAMED_PACKAGE,
    PATH,
    PREPARATION_FIELDS,
    json_option,
    place_of,
    preparation_options,
    print_json,
    runtime_from,
    stage_zero_option,
    threads_option,
)
from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from brain_edge.cli.budget_options import LimitOptions
    from brain_edge.evaluation.compare import Comparison
    from brain_edge.evaluation.evaluate import Evaluation
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge_conversion.budget.budget import AccuracyBudget


@click.command("evaluate", epilog=NAMED_PACKAGE)
@click.argument("package", type=PATH)
@click.argument("cohort")
@click.option("--split", type=click.Choice(["calibration", "validation", "test"]), help="Split to evaluate [all].")
@click.option("--baseline", metavar="PKG", help="Package to compare PACKAGE with.")
@budget_options(shares=False)
@click.option(
    "--lesion-wise",
    multiple=True,
    metavar="NAME=LABELS",
    help="Also score each lesion of a region as in BraTS 2023, such as WT=1+2+4.",
)
@click.option("--report", type=click.Path(path_type=Path), help="Also write the evaluation to this .json file.")
@stage_zero_option
@preparation_options
@threads_option
@quiet_option
@json_option
@runtime_from("threads", "stage_zero", *PREPARATION_FIELDS, resident_graphs=2)
def command(
    package: str,
    cohort: str,
    split: str | None,
    baseline: str | None,
    limits: LimitOptions,
    lesion_wise: tuple[str, ...],
    report: Path | None,
    runtime: RuntimeOptions,
    quiet: bool,
    as_json: bool,
) -> None:
    """Measure Dice, HD95 and volumes of PACKAGE on the cases of COHORT (a shipped name or a .toml file).

    Nothing is downloaded. The result names subjects: keep it out of a package. With --baseline, the result is the Dice
    drop and the agreement of both masks, by case number; with --max-dice-drop too, exit 4 if the budget is missed.
    """
    from brain_edge.evaluation.by_request import EvaluationRequest, compare_request, evaluate_request
    from brain_edge.evaluation.cohort import Split
    from brain_edge.evaluation.compare import format_comparison
    from brain_edge.evaluation.evaluate import format_table

    request = EvaluationRequest(
        split=Split(split) if split else None,
        regions=_regions(lesion_wise),
        file=report,
        runtime=runtime,
        report=reporter(quiet=quiet),
    )
    budget = _budget(limits, package, baseline)
    evaluation: Evaluation | Comparison
    compared: Comparison | None = None
    if baseline is None:
        evaluation = evaluate_request(place_of(package), cohort, request)
        table = format_table(evaluation)
    else:
        evaluation = compared = compare_request(place_of(package), place_of(baseline), cohort, request)
        table = format_comparison(evaluation)
    if as_json:
        print_json(evaluation)
    else:
        say(*table.splitlines())
    if budget is not None and compared is not None:
        _require_within(compared, cohort, budget)


def _budget(limits: LimitOptions, package: str, baseline: str | None) -> AccuracyBudget | None:
    """Return the budget of a comparison with the values of its labels, or None where no limit was typed.

    Raises:
        UsageError: nothing is compared, the package lacks a label of the budget, or a limit cannot bind.
    """
    from brain_edge.package import open_package

    budget = limits.budget(0.0)
    if budget is None:
        return None
    if baseline is None:
        raise UsageError("--max-dice-drop has no effect without --baseline; add --baseline")
    return budget.for_labels(open_package(place_of(package)).spec.labels)


def _require_within(comparison: Comparison, cohort: str, budget: AccuracyBudget) -> None:
    """Say on stderr that the budget is met.

    Raises:
        BudgetError: the budget is missed.
    """
    from brain_edge.evaluation.cohort import load_cohort
    from brain_edge_conversion.budget.of_comparison import require_within

    say(require_within(comparison, load_cohort(cohort), budget), err=True)


def _regions(given: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Parse regions: `WT=1+2+4` gives {"WT": (1, 2, 4)}."""
    regions: dict[str, tuple[int, ...]] = {}
    for text in given:
        name, _, labels = text.partition("=")
        if not name or not all(label.isdecimal() for label in labels.split("+")):
            raise UsageError(f"expected a region and its labels, such as WT=1+2+4, got {text!r}")
        if name in regions:
            raise UsageError(f"expected each --lesion-wise region once, got {name} twice; remove one")
        regions[name] = tuple(int(label) for label in labels.split("+"))
    return regions
