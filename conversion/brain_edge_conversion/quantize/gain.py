"""What INT8 gives on this computer, and bf16 where it is native: packages on one judged case, in new processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from brain_edge.bench.timed import time_packages
from brain_edge.engine.stage_zero import with_stage_zero
from brain_edge.evaluation.cohort import resolve, sequences_for
from brain_edge.evaluation.report.accuracy_page import write_page
from brain_edge.evaluation.report.accuracy_report import REPORT, read_report, write_report
from brain_edge.evaluation.report.gain import Gain, InBf16, Measured
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.description import this_machine
from brain_edge_conversion.budget.bf16 import judge_bf16, native_bf16
from brain_edge_conversion.search.splits import split_cohort

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brain_edge.bench.record import Sample
    from brain_edge.evaluation.cohort import Cohort
    from brain_edge.package import ModelPackage
    from brain_edge_conversion.quantize.quantize import QuantizeOptions


def measure_gain(baseline: ModelPackage, candidate: ModelPackage, cohort: Cohort, options: QuantizeOptions) -> Gain:
    """Time both packages on the first judged case of a cohort, `options.gain_rounds` processes each.

    Where the CPU computes bf16 natively, the baseline in bf16 takes its turn too and is judged by the budget.

    Raises:
        BrainEdgeError: a process failed.
    """
    options.report("measuring size, latency and memory before and after")
    files = resolve(split_cohort(cohort, calibrates=True).judged[0]).inputs
    images = {sequence.name: files[name] for name, sequence in sequences_for(list(files), baseline.spec).items()}
    runtime = with_stage_zero(baseline, options.runtime)
    in_bf16 = native_bf16(baseline)
    packages = (baseline, candidate) if in_bf16 is None else (baseline, candidate, in_bf16)
    samples = time_packages(packages, images, options.gain_rounds, options.report, runtime)
    before, after, *others = (_measured(package, taken) for package, taken in zip(packages, samples, strict=True))
    return Gain(
        baseline=before,
        candidate=after,
        cpu=this_machine().cpu,
        threads=runtime.threads or default_threads(),
        in_bf16=None if in_bf16 is None else _judged(baseline, in_bf16, others[0], cohort, options),
    )


def _judged(
    baseline: ModelPackage, in_bf16: ModelPackage, measured: Measured, cohort: Cohort, options: QuantizeOptions
) -> InBf16:
    """Judge bf16 on the cases that judge trials; the test cases are not looked at again."""
    cases = split_cohort(cohort, calibrates=True).searched
    options.report(f"judging bf16, which this CPU computes natively, on {len(cases)} search case(s)")
    verdict = judge_bf16(baseline, in_bf16, cases, options.budget, options.runtime)
    return InBf16(measured=measured, cases=len(cases), problem=next(iter(verdict.failures), ""))


def add_to_report(gain: Gain, folder: Path) -> None:
    """Write the report in a folder again, figures and page, with the gain."""
    report = msgspec.structs.replace(read_report(folder / REPORT), gain=gain)
    write_report(report, folder)
    write_page(report, folder)


def _measured(package: ModelPackage, samples: Sequence[Sample]) -> Measured:
    graphs = [package.folder / name for name in package.manifest.files if name.startswith("graphs/")]
    known = [sample.peak_rss_bytes for sample in samples if sample.peak_rss_bytes is not None]
    return Measured(
        size_bytes=sum(path.stat().st_size for path in graphs),
        cold_ms=tuple(sample.cold_ms for sample in samples),
        warm_ms=tuple(sample.warm_ms for sample in samples),
        peak_rss_bytes=tuple(known),
    )
