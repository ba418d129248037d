"""quantize: from an FP32 package to an INT8 package within a Dice budget, or to a refusal.

The only module that imports nncf. NNCF's own accuracy control neither guarantees its limit nor raises, so it is
not used: the graphs are quantised, the package is measured again through `Segmenter` in the precision in which
it will run, and the decision is ours (`docs/decisions/0005-budget-is-measured-through-segmenter.md`).
"""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from brain_edge.cohort import Split, load_case, require_cases, study_for
from brain_edge.compare import compare
from brain_edge.errors import BudgetError, UsageError
from brain_edge.io.atomic import atomic_folder
from brain_edge.package import ModelPackage, NumberFormat, WeightsStatus, graph_path, seal
from brain_edge.package.manifest import Accuracy, CaseRecord
from brain_edge.runtime.options import RuntimeOptions
from brain_edge.runtime.session import read_graph
from brain_edge.runtime.telemetry import forbid_telemetry
from brain_edge.segmenter import Segmenter
from brain_edge_conversion.budget import AccuracyBudget, Verdict, judge
from brain_edge_conversion.capture import capture_inputs, load_inputs
from brain_edge_conversion.convert import tool_versions
from brain_edge_conversion.coverage import LayerCost, int8_share, layer_costs
from brain_edge_conversion.selftest import write_self_test
from brain_edge_conversion.trace import save_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from brain_edge.cohort import Case, Cohort
    from brain_edge.spec import ModelSpec
    from brain_edge.volume import Study, Volume


class Preset(StrEnum):
    """How activations are quantised; weights are symmetric per channel in both."""

    PERFORMANCE = "performance"
    """Symmetric activations: instance norms then run on 8-bit data too, which saves memory more than time. The
    default."""
    MIXED = "mixed"
    """Asymmetric activations: closer to float where they are not centred on zero."""


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions:
    """How to quantise and how to judge.

    Attributes:
        budget: what the masks may lose.
        preset: of NNCF.
        runtime: threads for the measurements.
        report: told what is being done, one line at a time.
    """

    budget: AccuracyBudget = field(default_factory=AccuracyBudget)
    preset: Preset = Preset.PERFORMANCE
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    report: Callable[[str], None] = lambda _line: None


def quantize(package: ModelPackage, cohort: Cohort, target: Path, options: QuantizeOptions) -> ModelPackage:
    """Quantise every graph of a package and write the result if, and only if, it meets the budget.

    A package with random weights has no accuracy: it is quantised for measuring speed, and carries no record.

    Args:
        package: FP32, checked against PyTorch.
        cohort: its calibration split sets the ranges of the activations, its test split (else its validation
            split) is what the budget is judged on.
        target: the folder of the INT8 package; it appears whole or not at all.
        options: budget and preset.

    Raises:
        UsageError: the package is quantised already.
        InputError: the cohort has no calibration case, or one of its files is refused.
        BudgetError: the budget was missed; nothing is written.
    """
    _require_float(package)
    calibration = cohort.cases(Split.CALIBRATION)
    judged = () if _is_random(package) else _judging_cases(cohort)
    require_cases((*calibration, *judged), package.spec, options.report)
    with atomic_folder(target) as draft, tempfile.TemporaryDirectory(prefix="brain-edge-") as scratch:
        options.report(f"collecting network inputs from {len(calibration)} calibration case(s)")
        inputs = capture_inputs(package, _studies(calibration, package.spec), Path(scratch), options.runtime)
        layers = [layer for graph in package.spec.graphs for layer in _export(graph, inputs, package, draft, options)]
        manifest = msgspec.structs.replace(
            package.manifest, number_format=NumberFormat.INT8, made_with=tool_versions(), converted_from=package.digest
        )
        quantised = ModelPackage(draft, manifest)
        records = _compared(package, quantised, judged, options)
        accuracy = accuracy_record(records, int8_share(layers), cohort, options.budget) if records else None
        write_self_test(quantised)
        sealed = seal(draft, msgspec.structs.replace(manifest, accuracy=accuracy))
    return ModelPackage(target, sealed.manifest)


def quantize_graph(model: Any, inputs: Sequence[Path], preset: Preset) -> Any:
    """An OpenVINO model with FakeQuantize nodes, ranges from the inputs (`.npy` files of (1, C, I, J, K))."""
    forbid_telemetry()
    import nncf

    nncf.set_log_level(logging.ERROR)
    # a list of paths: NNCF asks for its length and iterates more than once; a volume is loaded when it is used
    dataset = nncf.Dataset(list(inputs), lambda path: next(load_inputs([path])))
    # NNCF draws its progress on stdout, which belongs to the results of the command
    with contextlib.redirect_stdout(sys.stderr):
        return nncf.quantize(model, dataset, preset=nncf.QuantizationPreset(preset.value), subset_size=len(inputs))


def _export(
    graph: str,
    inputs: Mapping[str, Sequence[Path]],
    package: ModelPackage,
    draft: Path,
    options: QuantizeOptions,
) -> tuple[LayerCost, ...]:
    """Quantise one graph, save it, and count what became integer."""
    import openvino as ov

    options.report(f"quantising {graph} on {len(inputs[graph])} input(s)")
    model = read_graph(ov.Core(), package.graph_file(graph), package.spec)
    quantised = quantize_graph(model, inputs[graph], options.preset)
    save_graph(quantised, draft / graph_path(graph), package.spec)
    shape = next(load_inputs(inputs[graph])).shape
    return layer_costs(quantised, shape)


def accuracy_record(records: Sequence[CaseRecord], share: float, cohort: Cohort, budget: AccuracyBudget) -> Accuracy:
    """The record of a met budget.

    Raises:
        BudgetError: the budget was missed; names every limit, the figure, and the least budget that would do.
    """
    verdict = judge(records, share, budget)
    if not verdict.met:
        raise BudgetError(
            f"the accuracy budget is not met: {'; '.join(verdict.failures)}. Smallest --max-dice-drop that these "
            f"cases would meet: {max(verdict.worst_mean_drop, verdict.worst_case_drop / 2):.5f}; no package was written"
        )
    return Accuracy(
        statement=_statement(verdict, records, cohort),
        max_dice_drop=budget.max_dice_drop,
        worst_mean_drop=verdict.worst_mean_drop,
        int8_share=share,
        cohort_sha256=cohort.sha256,
        demonstration=cohort.manifest.demo,
        cases=tuple(records),
    )


def _statement(verdict: Verdict, records: Sequence[CaseRecord], cohort: Cohort) -> str:
    subjects = {case.entry.subject for case in cohort.cases() if case.number in {record.case for record in records}}
    what = "mean Dice drop" if verdict.by_reference else "mean disagreement with FP32 (no reference masks)"
    split = records[0].split
    seen = (
        f"{what} at most {verdict.worst_mean_drop:.5f} per label over the {split} cases of {len(subjects)} subject(s)"
    )
    if cohort.manifest.demo:
        return f"accuracy: demonstration, one head: {seen}; no statement about other heads"
    if cohort.manifest.synthetic:
        return f"synthetic images: {seen}; no statement about real heads"
    if split != Split.TEST:
        return f"{seen}; search data, no statement about new patients"
    return seen


def _judging_cases(cohort: Cohort) -> tuple[Case, ...]:
    """The test split, or the validation split of a cohort that has no test split."""
    counts = cohort.counts()
    return cohort.cases(Split.TEST if counts[Split.TEST] else Split.VALIDATION)


def _studies(cases: Sequence[Case], spec: ModelSpec) -> Iterator[Study | Volume]:
    for case in cases:
        yield study_for(load_case(case)[0], spec)


def _compared(
    package: ModelPackage, quantised: ModelPackage, cases: Sequence[Case], options: QuantizeOptions
) -> list[CaseRecord]:
    """Both packages on every case, through `Segmenter`, in the precision in which they will run."""
    if not cases:
        return []
    options.report(f"comparing INT8 with FP32 on {len(cases)} case(s)")
    baseline, candidate = (Segmenter.open(each, options.runtime) for each in (package, quantised))
    return [
        CaseRecord(
            case=case.case,
            split=case.split,
            label=label.label,
            dice_fp32=label.dice_baseline,
            dice_int8=label.dice_candidate,
            drop=label.drop,
            agreement=label.agreement,
            hd95_fp32_mm=label.hd95_baseline_mm,
            hd95_int8_mm=label.hd95_candidate_mm,
        )
        for case in compare(baseline, candidate, cases)
        for label in case.labels
    ]


def _is_random(package: ModelPackage) -> bool:
    return package.manifest.weights_status is WeightsStatus.RANDOM


def _require_float(package: ModelPackage) -> None:
    if package.manifest.number_format is not NumberFormat.FP32:
        raise UsageError(
            f"{package.folder}: expected an FP32 package, this one is {package.manifest.number_format} already"
        )
