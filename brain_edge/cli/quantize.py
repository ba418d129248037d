"""`brain-edge quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brain_edge.cli.budget_options import budget_options, require_budget
from brain_edge.cli.building import print_evidence, quiet_option, reporter
from brain_edge.cli.failure import say
from brain_edge.cli.options import (
    PACKAGE_HELP,
    PATH,
    atlas_option,
    overwrite_option,
    place_of,
    prepared_option,
    require_effect,
    runtime_from,
    stage_zero_option,
    threads_option,
)
from brain_edge.verbs.build_side import build_side

if TYPE_CHECKING:
    from brain_edge.cli.budget_options import LimitOptions
    from brain_edge.machine.options import RuntimeOptions


@click.command("quantize", epilog=PACKAGE_HELP)
@click.argument("package", required=False, type=PATH)
@budget_options(shares=True)
@click.option("--calibration", metavar="COHORT", help="Cohort: name of a shipped one, or .toml file [the recipe's].")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="PKG", help="Folder of the package [PKG-int8]."
)
@click.option(
    "--preset",
    type=click.Choice(["performance", "mixed"]),
    default="performance",
    show_default=True,
    help="NNCF preset of the first trial.",
)
@click.option(
    "--report",
    "report_folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder for figures and a page of the worst cases, which names subjects.",
)
@click.option("--without-patients", is_flag=True, help="Omit subject names and pictures from the report.")
@click.option("--for-speed", is_flag=True, help="Quantise random weights on a phantom, to measure speed only.")
@click.option(
    "--explain",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Quantise no package; write the error of INT8 in each layer as a table and a picture.",
)
@click.option("--no-weight-changes", is_flag=True, help="Keep the weights as trained; try settings only.")
@click.option("--no-gain", is_flag=True, help="Do not measure size, latency and memory before and after.")
@click.option(
    "--time-limit",
    type=float,
    metavar="MINUTES",
    help="Time after which no trial begins and no fit of weights goes on [no limit].",
)
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
    calibration: str | None,
    output: Path | None,
    preset: str,
    report_folder: Path | None,
    without_patients: bool,
    for_speed: bool,
    explain: Path | None,
    no_weight_changes: bool,
    no_gain: bool,
    time_limit: float | None,
    overwrite: bool,
    runtime: RuntimeOptions,
    quiet: bool,
) -> None:
    """Quantise an FP32 package to INT8; write it only if the masks stay within the budget (otherwise exit 4).

    A package with random weights has no accuracy to lose: quantise it with --for-speed to measure its speed.
    """
    with build_side("quantize"):
        from brain_edge_conversion.quantize.by_request import (
            GAIN_ROUNDS,
            explain_request,
            quantize_request,
            speed_request,
        )
        from brain_edge_conversion.quantize.explain import ExplainOptions
        from brain_edge_conversion.quantize.networks import import_nncf
        from brain_edge_conversion.quantize.quantize import Preset, QuantizeOptions

        import_nncf()
    if explain is not None:
        _refuse_idle(
            "--explain",
            output=output,
            report_folder=report_folder,
            max_dice_drop=limits.budget(0.5),
            for_speed=for_speed or None,
            no_gain=no_gain or None,
            no_weight_changes=no_weight_changes or None,
            time_limit=time_limit,
        )
        asked = ExplainOptions(preset=Preset(preset), runtime=runtime, report=reporter(quiet=quiet))
        say(*explain_request(place_of(package), calibration, explain, asked))
        return
    if for_speed:
        _refuse_idle(
            "--for-speed",
            calibration=calibration,
            report_folder=report_folder,
            max_dice_drop=limits.budget(0.5),
            no_gain=no_gain or None,
            no_weight_changes=no_weight_changes or None,
            time_limit=time_limit,
            atlas=runtime.atlas,
        )
        quantised = speed_request(place_of(package), output, Preset(preset), runtime, overwrite=overwrite)
        say("random weights, calibrated on a phantom: only its speed and memory are meaningful")
        say(f"{quantised.folder}: digest {quantised.digest}")
        return
    advice = "Give the Dice drop that INT8 may cost, such as 0.01; for random weights give --for-speed."
    options = QuantizeOptions(
        budget=require_budget(limits, advice, min_int8_share=0.5),
        preset=Preset(preset),
        weight_changes=not no_weight_changes,
        gain_rounds=0 if no_gain else GAIN_ROUNDS,
        runtime=runtime,
        report=reporter(quiet=quiet),
        report_folder=report_folder,
        without_patients=without_patients,
        time_limit_min=time_limit,
        overwrite=overwrite,
    )
    quantized = quantize_request(place_of(package), calibration, output, options)
    print_evidence(quantized.package)
    if quantized.gain is not None:
        say(*quantized.gain.in_words)


def _refuse_idle(beside: str, **options: object) -> None:
    given = [name for name, value in options.items() if value is not None]
    require_effect([f"--{name.removesuffix('_folder').replace('_', '-')}" for name in given], f"with {beside}")
