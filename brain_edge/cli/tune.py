"""`brain-edge tune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brain_edge.cli.budget_options import budget_options, require_budget
from brain_edge.cli.building import print_evidence, quiet_option, reporter
from brain_edge.cli.options import (
    PACKAGE_HELP,
    PATH,
    atlas_option,
    overwrite_option,
    place_of,
    prepared_option,
    runtime_from,
    stage_zero_option,
    threads_option,
)
from brain_edge.verbs.build_side import build_side

if TYPE_CHECKING:
    from brain_edge.cli.budget_options import LimitOptions
    from brain_edge.machine.options import RuntimeOptions


@click.command("tune", epilog=PACKAGE_HELP)
@click.argument("package", required=False, type=PATH)
@click.option("--calibration", required=True, metavar="COHORT", help="Cohort: name of a shipped one, or .toml file.")
@budget_options(shares=False)
@click.option("--int8", metavar="PKG", help="INT8 package that was quantised from PACKAGE.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="PKG", help="Folder of the package [PKG-tuned]."
)
@click.option(
    "--report",
    "report_folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder for figures, times and worst cases, with subject names [no names, beside the package].",
)
@click.option("--without-patients", is_flag=True, help="Omit subject names and pictures from the report.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Timed cold runs per setting.")
@click.option("--time-limit", type=float, metavar="MINUTES", help="Time after which no trial begins [no limit].")
@overwrite_option
@stage_zero_option
@atlas_option
@prepared_option
@threads_option
@quiet_option
@runtime_from("threads", "stage_zero", "atlas", "prepared", resident_graphs=2)
def command(
    package: str | None,
    limits: LimitOptions,
    calibration: str,
    int8: str | None,
    output: Path | None,
    report_folder: Path | None,
    without_patients: bool,
    rounds: int,
    time_limit: float | None,
    overwrite: bool,
    runtime: RuntimeOptions,
    quiet: bool,
) -> None:
    """Make a package cheaper to run within a Dice budget: members, mirrorings, windows, crop, INT8 (otherwise exit 4).

    Settings are tried on the validation cases of the cohort. The chosen setting is judged once on its test cases.
    """
    with build_side("tune"):
        from brain_edge_conversion.tune.by_request import tune_request
        from brain_edge_conversion.tune.tune import TuneOptions

    options = TuneOptions(
        budget=require_budget(limits, "Give the Dice drop that is allowed, such as 0.01.", min_int8_share=0.0),
        rounds=rounds,
        runtime=runtime,
        report=reporter(quiet=quiet),
        report_folder=report_folder,
        without_patients=without_patients,
        time_limit_min=time_limit,
        overwrite=overwrite,
    )
    quantised = None if int8 is None else place_of(int8)
    print_evidence(tune_request(place_of(package), calibration, output, options, quantised))
