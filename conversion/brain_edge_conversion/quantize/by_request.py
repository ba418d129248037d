"""A quantisation as a user asks for it: folders, and the name of a cohort."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from brain_edge.engine.phantom_study import stand_in
from brain_edge.errors import UsageError
from brain_edge.evaluation.cohort import load_cohort
from brain_edge.image.phantom import Phantom
from brain_edge.package import open_package
from brain_edge_conversion.quantize.explain import explain
from brain_edge_conversion.quantize.for_speed import quantize_for_speed
from brain_edge_conversion.quantize.gain import add_to_report, measure_gain
from brain_edge_conversion.quantize.quantize import quantize
from brain_edge_conversion.recipes import load_recipe, recipe_names

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.evaluation.report.gain import Gain
    from brain_edge.image.volume import Study
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage
    from brain_edge.spec import ModelSpec
    from brain_edge_conversion.quantize.explain import ExplainOptions
    from brain_edge_conversion.quantize.ladder import Preset
    from brain_edge_conversion.quantize.quantize import QuantizeOptions


GAIN_ROUNDS: Final = 3
"""Default number of timed processes of each package."""


@dataclass(frozen=True)
class Quantized:
    """Result of a quantisation.

    Attributes:
        package: sealed INT8 package.
        gain: size, latency and memory before and after; None if they were not measured.
    """

    package: ModelPackage
    gain: Gain | None


def quantize_request(
    folder: Path, calibration: str | Path | None, target: Path | None, options: QuantizeOptions
) -> Quantized:
    """Open a package, find its cohort, quantise within the budget, and measure the gain if the options ask for it.

    Args:
        folder: FP32 package.
        calibration: cohort, by the name of a shipped one or the path of a manifest; the recipe's by default.
        target: folder of the INT8 package; `NAME-int8` beside the other by default.
        options: budget, preset, threads, report.

    Raises:
        UsageError: no cohort is known, or see `quantize`.
        PackageError: the package is damaged or none.
        InputError, WeightsError, BudgetError: see `quantize`.
    """
    package = open_package(folder)
    cohort = load_cohort(calibration or _own_cohort(package.spec.name))
    quantized = quantize(package, cohort, target or _beside(package), options)
    if not options.gain_rounds:
        return Quantized(quantized, None)
    gain = measure_gain(package, quantized, cohort, options)
    if options.report_folder is not None:
        add_to_report(gain, options.report_folder)
    return Quantized(quantized, gain)


def speed_request(
    folder: Path, target: Path | None, preset: Preset, runtime: RuntimeOptions, *, overwrite: bool = False
) -> ModelPackage:
    """Open a package with random weights and quantise it on a phantom, for speed alone.

    Args:
        folder: FP32 package.
        target: folder of the INT8 package; `NAME-int8` beside the other by default.
        preset: preset of NNCF.
        runtime: threads.
        overwrite: True to replace a package of the same name.

    Raises:
        UsageError: see `quantize_for_speed`.
        PackageError: the package is damaged or none.
    """
    package = open_package(folder)
    place = target or _beside(package)
    return quantize_for_speed(package, [_phantom(package.spec)], place, preset, runtime, overwrite=overwrite)


def explain_request(
    folder: Path, calibration: str | Path | None, place: Path, options: ExplainOptions
) -> tuple[str, ...]:
    """Open a package, find its cohort, and write where the error of INT8 arises; return the lines of the table.

    Args:
        folder: FP32 package.
        calibration: cohort, by the name of a shipped one or the path of a manifest; the recipe's by default.
        place: folder of table, figures and picture.
        options: preset, threads, progress.

    Raises:
        UsageError: no cohort is known, or see `explain`.
        PackageError: the package is damaged or none.
        InputError, CrashError: see `explain`.
    """
    package = open_package(folder)
    return explain(package, load_cohort(calibration or _own_cohort(package.spec.name)), place, options)


def _beside(package: ModelPackage) -> Path:
    folder = package.folder.resolve()
    return folder.parent / f"{folder.name.removesuffix('-fp32')}-int8"


def _phantom(spec: ModelSpec) -> Study:
    """Return the phantom that replaces an image: the recipe's, or one of the usual size."""
    phantom = load_recipe(spec.name).parity_phantom if spec.name in recipe_names() else None
    return stand_in(phantom or Phantom(), spec)


def _own_cohort(model: str) -> str:
    cohort = load_recipe(model).cohort if model in recipe_names() else None
    if cohort is None:
        raise UsageError(f"expected --calibration COHORT, got none, and {model} has no default cohort; name a cohort")
    return cohort
