"""An FP32 package in bf16, on a CPU that computes bf16 natively, judged by the budget of a search."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from brain_edge.engine.segmenter import Segmenter
from brain_edge.package import NumberFormat, Precision
from brain_edge.runtime.session import cpu_capabilities
from brain_edge_conversion.budget.budget import judge
from brain_edge_conversion.budget.isa import make_job, measure_apart
from brain_edge_conversion.budget.measure import write_baseline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.evaluation.cohort import Case
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage
    from brain_edge_conversion.budget.budget import AccuracyBudget, Verdict

ANY_SHARE: Final = 1.0
"""INT8 fraction for the judgement: the limit on it does not concern bf16."""


def native_bf16(package: ModelPackage) -> ModelPackage | None:
    """Return an FP32 package in bf16; None if this CPU has no native bf16, or if the package runs in another format.

    Without native bf16 the runtime computes in f32.
    """
    manifest = package.manifest
    is_f32 = manifest.number_format is NumberFormat.FP32 and manifest.precision is Precision.F32
    return package.in_precision(Precision.BF16) if is_f32 and "BF16" in cpu_capabilities() else None


def judge_bf16(
    package: ModelPackage,
    in_bf16: ModelPackage,
    cases: Sequence[Case],
    budget: AccuracyBudget,
    runtime: RuntimeOptions,
) -> Verdict:
    """Compare the masks of both precisions on cases of one cohort.

    Args:
        package: package in f32.
        in_bf16: the same package in bf16.
        cases: cases to judge.
        budget: limits on the masks.
        runtime: runtime options.

    Raises:
        CrashError, BrainEdgeError: the measurement failed.
    """
    with TemporaryDirectory() as folder:
        masks = Path(folder)
        write_baseline(Segmenter.open(package, runtime), cases, masks, budget.unbound)
        answer = measure_apart(make_job(in_bf16, cases, masks, None, runtime))
    return judge(answer.records, ANY_SHARE, budget)
