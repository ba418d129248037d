"""An evaluation as a user asks for it: folders, the name of a cohort, and a file for the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import msgspec

from brain_edge.engine.prepares import require_preparation
from brain_edge.errors import UsageError
from brain_edge.evaluation.cohort import load_cohort
from brain_edge.evaluation.compare import Comparison, compare_packages
from brain_edge.evaluation.evaluate import Evaluation, evaluate
from brain_edge.machine.atomic import atomic_file, remove_leftovers, require_file_place
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import open_package

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brain_edge.deploy.fetch import Report
    from brain_edge.evaluation.cohort import Split

Result = TypeVar("Result", Evaluation, Comparison)


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What is judged beside the package and the cohort, and how.

    Attributes:
        split: cases of this split alone; all by default.
        regions: labels of each region that is also judged lesion by lesion.
        file: `.json` file for the result.
        runtime: threads, cache, memory limit, stage 0.
        report: function that is told each case.

    Raises:
        UsageError: the file has another suffix, or is a folder.
        OutputError: the file cannot be written.
    """

    split: Split | None = None
    regions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    file: Path | None = None
    runtime: RuntimeOptions | None = None
    report: Report | None = None

    def __post_init__(self) -> None:
        if self.file is None:
            return
        if self.file.suffix.lower() != ".json":
            raise UsageError(f"{self.file}: expected a report file that ends in .json")
        require_file_place(self.file)
        remove_leftovers([self.file])


def evaluate_request(folder: Path, cohort: str | Path, request: EvaluationRequest) -> Evaluation:
    """Open a package and judge it on a cohort.

    Args:
        folder: package.
        cohort: name of a shipped cohort, or path of a manifest.
        request: cases, regions, file.

    Raises:
        UsageError, InputError, WeightsError: see `evaluate`.
        PackageError: the package is damaged or none.
        OutputError: the file cannot be written.
    """
    model = open_package(folder)
    require_preparation(model.spec, request.runtime or RuntimeOptions())
    wanted, tell = request.regions, request.report
    found = evaluate(model, load_cohort(cohort), request.split, options=request.runtime, report=tell, regions=wanted)
    return _kept(found, request)


def compare_request(folder: Path, baseline: Path, cohort: str | Path, request: EvaluationRequest) -> Comparison:
    """Open two packages of one model and compare them on a cohort.

    Args:
        folder: package that is judged.
        baseline: package that it is compared with.
        cohort: name of a shipped cohort, or path of a manifest.
        request: cases, file; no regions.

    Raises:
        UsageError: regions are asked for, or see `compare_packages`.
        InputError, WeightsError: see `compare_packages`.
        PackageError: a package is damaged or none.
        OutputError: the file cannot be written.
    """
    if request.regions:
        raise UsageError("--lesion-wise has no effect with --baseline; remove it")
    model, first = open_package(folder), open_package(baseline)
    preparing = first if first.spec.preparation else model
    require_preparation(preparing.spec, request.runtime or RuntimeOptions())
    tell = request.report
    found = compare_packages(first, model, load_cohort(cohort), request.split, options=request.runtime, report=tell)
    return _kept(found, request)


def _kept(result: Result, request: EvaluationRequest) -> Result:
    """Write the result where a file is asked for, and return it."""
    if request.file is not None:
        with atomic_file(request.file) as partial:
            partial.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2))
    return result
