"""`brain-edge evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brain_edge.cli.building import quiet_option, reporter
from brain_edge.cli.failure import say
from brain_edge.cli.options import json_option, print_json, runtime_from, stage_zero_option, threads_option
from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from brain_edge.evaluation.compare import Comparison
    from brain_edge.evaluation.evaluate import Evaluation
    from brain_edge.machine.options import RuntimeOptions


@click.command("evaluate")
@click.argument("package")
@click.argument("cohort")
@click.option("--split", type=click.Choice(["calibration", "validation", "test"]), help="Only these cases [all].")
@click.option("--baseline", metavar="PKG", help="Compare with this package: what did PACKAGE lose against it?")
@click.option(
    "--lesion-wise", multiple=True, metavar="NAME=LABELS", help="Also lesion by lesion, as BraTS since 2023: WT=1+2+4."
)
@click.option("--report", type=click.Path(path_type=Path), help="Also write the evaluation (.json).")
@stage_zero_option
@threads_option
@quiet_option
@json_option
@runtime_from("threads", "stage_zero", resident_graphs=2)
def command(
    package: str,
    cohort: str,
    split: str | None,
    baseline: str | None,
    lesion_wise: tuple[str, ...],
    report: Path | None,
    runtime: RuntimeOptions,
    quiet: bool,
    as_json: bool,
) -> None:
    """Dice, HD95 and volumes of PACKAGE on the cases of COHORT (a shipped name or a .toml file).

    Nothing is downloaded. The result names subjects: it is for you, not for a package. With --baseline: the drop of
    Dice and the agreement of both masks, under case numbers.
    """
    import msgspec

    from brain_edge.evaluation.cohort import Split, load_cohort
    from brain_edge.evaluation.compare import compare_packages, format_comparison
    from brain_edge.evaluation.evaluate import evaluate, format_table
    from brain_edge.machine.atomic import atomic_file, remove_leftovers, require_file_place
    from brain_edge.package import open_package

    if report is not None:
        if report.suffix.lower() != ".json":
            raise UsageError(f"{report}: expected a report file that ends in .json")
        require_file_place(report)
        remove_leftovers([report])
    regions = _regions(lesion_wise)
    if regions and baseline is not None:
        raise UsageError("--lesion-wise judges one package; leave it out with --baseline")
    opened, part, told = open_package(package), Split(split) if split else None, reporter(quiet=quiet)
    evaluation: Evaluation | Comparison
    if baseline is None:
        evaluation = evaluate(opened, load_cohort(cohort), part, options=runtime, report=told, regions=regions)
        table = format_table(evaluation)
    else:
        first = open_package(baseline)
        evaluation = compare_packages(first, opened, load_cohort(cohort), part, options=runtime, report=told)
        table = format_comparison(evaluation)
    if report is not None:
        with atomic_file(report) as partial:
            partial.write_bytes(msgspec.json.format(msgspec.json.encode(evaluation), indent=2))
    if as_json:
        print_json(evaluation)
    else:
        say(*table.splitlines())


def _regions(given: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """`WT=1+2+4` -> {"WT": (1, 2, 4)}."""
    regions: dict[str, tuple[int, ...]] = {}
    for text in given:
        name, _, labels = text.partition("=")
        if not name or not all(label.isdecimal() for label in labels.split("+")):
            raise UsageError(f"expected a region and its labels, such as WT=1+2+4, got {text!r}")
        if name in regions:
            raise UsageError(f"the region {name} is there twice")
        regions[name] = tuple(int(label) for label in labels.split("+"))
    return regions
