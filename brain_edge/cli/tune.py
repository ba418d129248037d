"""`brain-edge tune`."""

from __future__ import annotations

from pathlib import Path

import click

from brain_edge.cli.building import quiet_option, reporter
from brain_edge.cli.options import runtime_options, stage_zero_option, threads_option
from brain_edge.errors import UsageError


@click.command("tune")
@click.argument("package")
@click.option("--calibration", required=True, metavar="COHORT", help="Cohort: a shipped name or a .toml file.")
@click.option("--max-dice-drop", type=float, required=True, metavar="DROP", help="Greatest mean Dice drop of a label.")
@click.option("--max-case-drop", type=float, metavar="DROP", help="Greatest drop of one case [twice the mean's].")
@click.option(
    "--int8", type=click.Path(path_type=Path), metavar="PKG", help="INT8 package that was quantised from this one."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="PKG", help="Folder of the package [PKG-tuned]."
)
@click.option(
    "--report",
    "report_folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where table, JSON and plot go [beside the package, -tuning].",
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Timed cold runs of each setting."
)
@click.option("--time-limit", type=float, metavar="MINUTES", help="End with the best setting that was found by then.")
@stage_zero_option
@threads_option
@quiet_option
def command(
    package: str,
    calibration: str,
    max_dice_drop: float,
    max_case_drop: float | None,
    int8: Path | None,
    output: Path | None,
    report_folder: Path | None,
    rounds: int,
    time_limit: float | None,
    threads: int | None,
    quiet: bool,
) -> None:
    """Make a package cheaper to run within a Dice budget: members, mirrorings, windows, crop, INT8 (else exit 4).

    Settings are tried on the validation cases of the cohort; the choice is judged once on its test cases.
    """
    from brain_edge.evaluation.cohort import load_cohort
    from brain_edge.evaluation.tuning import tuning_of
    from brain_edge.package import open_package
    from brain_edge_conversion.budget.budget import AccuracyBudget
    from brain_edge_conversion.tune.tune import TuneOptions, tune

    if time_limit is not None and not 0 < time_limit < float("inf"):
        raise UsageError(f"expected --time-limit of more than 0 minutes, got {time_limit:g}")
    options = TuneOptions(
        budget=AccuracyBudget(max_dice_drop=max_dice_drop, max_case_drop=max_case_drop, min_int8_share=0.0),
        rounds=rounds,
        time_limit_s=None if time_limit is None else time_limit * 60,
        runtime=runtime_options(threads, resident_graphs=2),
        report=reporter(quiet=quiet),
        report_folder=report_folder,
    )
    opened = open_package(package)
    folder = opened.folder.resolve()
    target = output or folder.with_name(f"{folder.name}-tuned")
    tuned = tune(opened, load_cohort(calibration), target, options, None if int8 is None else open_package(int8))
    tuning = tuning_of(tuned.manifest)
    if tuning is not None:
        for change in tuning.changes:
            click.echo(change)
        fewer = tuning.operations_full / tuning.operations_tuned
        click.echo(f"{fewer:.1f} times fewer operations (of f32) than the package as it was")
        for line in (tuning.statement, tuning.next_patient, *tuning.warnings):
            click.echo(line)
    click.echo(f"{target}: digest {tuned.digest}")
