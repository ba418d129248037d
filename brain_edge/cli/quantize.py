"""`brain-edge quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brain_edge.cli.budget_options import budget_options, require_budget
from brain_edge.cli.building import build_side, print_evidence, quiet_option, reporter
from brain_edge.cli.failure import say
from brain_edge.cli.options import find_package, require_effect, runtime_from, stage_zero_option, threads_option
from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from brain_edge.cli.budget_options import LimitOptions
    from brain_edge.image.volume import Study
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage
    from brain_edge.spec import ModelSpec


@click.command("quantize")
@click.argument("package", required=False)
@budget_options(shares=True)
@click.option("--calibration", metavar="COHORT", help="Cohort, as shipped name or .toml file [the recipe's].")
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
@click.option("--time-limit", type=float, metavar="MINUTES", help="Time after which no trial begins [no limit].")
@stage_zero_option
@threads_option
@quiet_option
@runtime_from("threads", "stage_zero", resident_graphs=2)
def command(
    package: str | None,
    limits: LimitOptions,
    calibration: str | None,
    output: Path | None,
    preset: str,
    report_folder: Path | None,
    without_patients: bool,
    for_speed: bool,
    time_limit: float | None,
    runtime: RuntimeOptions,
    quiet: bool,
) -> None:
    """Quantise an FP32 package to INT8; write it only if the masks stay within the budget (otherwise exit 4).

    A package with random weights has no accuracy to lose: quantise it with --for-speed to measure its speed.
    """
    from brain_edge.evaluation.cohort import load_cohort
    from brain_edge.package import open_package

    with build_side("quantize"):
        from brain_edge_conversion.quantize.for_speed import quantize_for_speed
        from brain_edge_conversion.quantize.networks import import_nncf
        from brain_edge_conversion.quantize.quantize import Preset, QuantizeOptions, quantize

        import_nncf()
    if for_speed:
        _refuse_idle(
            calibration=calibration,
            report_folder=report_folder,
            max_dice_drop=limits.budget(0.5),
            time_limit=time_limit,
        )
        opened = open_package(find_package(package))
        target = output or _target(opened)
        quantised = quantize_for_speed(opened, [_phantom(opened.spec)], target, Preset(preset), runtime)
        say("random weights, calibrated on a phantom: only its speed and memory are meaningful")
        say(f"{quantised.folder}: digest {quantised.digest}")
        return
    advice = "Give the Dice drop that INT8 may cost, such as 0.01; for random weights give --for-speed."
    options = QuantizeOptions(
        budget=require_budget(limits, advice, min_int8_share=0.5),
        preset=Preset(preset),
        runtime=runtime,
        report=reporter(quiet=quiet),
        report_folder=report_folder,
        without_patients=without_patients,
        time_limit_min=time_limit,
    )
    opened = open_package(find_package(package))
    cohort = load_cohort(calibration or _default_cohort(opened.spec.name))
    print_evidence(quantize(opened, cohort, output or _target(opened), options))


def _refuse_idle(**options: object) -> None:
    given = [name for name, value in options.items() if value is not None]
    require_effect([f"--{name.removesuffix('_folder').replace('_', '-')}" for name in given], "with --for-speed")


def _target(package: ModelPackage) -> Path:
    folder = package.folder.resolve()
    return folder.parent / f"{folder.name.removesuffix('-fp32')}-int8"


def _phantom(spec: ModelSpec) -> Study:
    """Return the phantom that replaces an image: the recipe's, or one of the usual size."""
    from brain_edge.engine.phantom_study import stand_in
    from brain_edge.image.phantom import Phantom
    from brain_edge_conversion.recipes import load_recipe, recipe_names

    phantom = load_recipe(spec.name).parity_phantom if spec.name in recipe_names() else None
    return stand_in(phantom or Phantom(), spec)


def _default_cohort(model: str) -> str:
    from brain_edge_conversion.recipes import load_recipe, recipe_names

    cohort = load_recipe(model).cohort if model in recipe_names() else None
    if cohort is None:
        raise UsageError(f"expected --calibration COHORT, got none, and {model} has no default cohort; name a cohort")
    return cohort
