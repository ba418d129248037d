"""A search for cheaper settings as a user asks for it: folders, and the name of a cohort."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.evaluation.cohort import load_cohort
from brain_edge.package import open_package
from brain_edge_conversion.tune.tune import tune

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.package import ModelPackage
    from brain_edge_conversion.tune.tune import TuneOptions


def tune_request(
    folder: Path, calibration: str | Path, target: Path | None, options: TuneOptions, int8: Path | None = None
) -> ModelPackage:
    """Open the packages and the cohort, and tune within the budget.

    Args:
        folder: trained package.
        calibration: cohort, by the name of a shipped one or the path of a manifest.
        target: folder of the tuned package; `NAME-tuned` beside the other by default.
        options: budget, times, threads, report.
        int8: package that was quantised from this one.

    Raises:
        UsageError: no such cohort, or see `tune`.
        PackageError: a package is damaged or none.
        InputError, WeightsError, BudgetError: see `tune`.
    """
    package = open_package(folder)
    place = package.folder.resolve()
    quantised = None if int8 is None else open_package(int8)
    return tune(package, load_cohort(calibration), target or place.with_name(f"{place.name}-tuned"), options, quantised)
