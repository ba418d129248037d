"""The same measurement with the instructions of another CPU, in a child process.

oneDNN reads `ONEDNN_MAX_CPU_ISA` once, when a process starts. CPUs without VNNI add two 8-bit products in 16 bits,
which saturate: a package that was judged on a new CPU only may be worse on the workstation.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.bench.child import ChildOptions, ask_child, job_from_parent
from brain_edge.engine.segmenter import Segmenter
from brain_edge.evaluation.cohort import load_cohort
from brain_edge.evaluation.evidence import AccuracyCase, Isa, IsaRecord
from brain_edge.package import Manifest, ModelPackage, Precision
from brain_edge.spec import Value
from brain_edge_conversion.budget.budget import judge
from brain_edge_conversion.budget.coverage import LayerCost, int8_share, kernel_shares, with_kernels
from brain_edge_conversion.budget.kernels import newer_than_avx2, package_kernels
from brain_edge_conversion.budget.measure import measure, subject_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brain_edge.evaluation.cohort import Case
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge_conversion.budget.budget import AccuracyBudget

VARIABLE: Final = "ONEDNN_MAX_CPU_ISA"
MODULE: Final = "brain_edge_conversion.budget.isa"
X86: Final = frozenset({"x86_64", "amd64"})


class IsaQuestion(Value, frozen=True):
    """What the child is asked to do: files and numbers only, since it shares nothing else with its parent."""

    folder: str
    manifest: Manifest
    cohort: str
    cases: tuple[int, ...]
    masks: str
    runtime: ChildOptions
    shapes: dict[str, tuple[int, ...]]


class IsaAnswer(Value, frozen=True):
    """What the child found: the masks against the baseline, and per graph and layer the kernel that was in force."""

    records: tuple[AccuracyCase, ...]
    kernels: dict[str, dict[str, str]]


def make_job(
    candidate: ModelPackage,
    cases: Sequence[Case],
    masks: Path,
    shapes: dict[str, tuple[int, ...]],
    runtime: RuntimeOptions,
) -> IsaQuestion:
    """The measurement of a package, sealed or not, on cases of one cohort; `shapes` are the inputs of its graphs."""
    return IsaQuestion(
        folder=str(candidate.folder),
        manifest=candidate.manifest,
        cohort=cases[0].cohort,
        cases=tuple(case.number for case in cases),
        masks=str(masks),
        runtime=ChildOptions.of(runtime),
        shapes=shapes,
    )


def obstacle(machine: str, precision: Precision) -> str:
    """Why older x86 instructions cannot be measured; empty where they can.

    Args:
        machine: as `platform.machine` names it.
        precision: of what is not integer; bf16 exists on CPUs only that have more than AVX2.
    """
    if machine.lower() not in X86:
        return f"not verified: this CPU is {machine}, not x86"
    return "" if precision is Precision.F32 else f"not verified: the package runs in {precision}, which AVX2 has not"


def measure_under(isa: Isa, job: IsaQuestion) -> IsaAnswer:
    """Run a job in a child process that may use no more than these instructions, and that ends with this process.

    Raises:
        BrainEdgeError: the child failed; carries its last line.
    """
    answer = ask_child(MODULE, job, f"the measurement under {isa}", {VARIABLE: isa})
    return msgspec.json.decode(answer, type=IsaAnswer)


def isa_record(
    isa: Isa, job: IsaQuestion, layers: Mapping[str, Sequence[LayerCost]], budget: AccuracyBudget
) -> IsaRecord:
    """Measure under other instructions and judge; where that is impossible, the record says why.

    Args:
        isa: the instructions.
        job: what to measure.
        layers: of each graph; which of them are integer is asked of the kernels that ran in the child.
        budget: the limits.
    """
    reason = obstacle(platform.machine(), job.manifest.precision)
    if reason:
        return IsaRecord(isa=isa, verified=False, reason=reason)
    answer = measure_under(isa, job)
    ran = [each for graph in layers for each in with_kernels(layers[graph], answer.kernels[graph])]
    shares = kernel_shares(ran)
    newer = newer_than_avx2(shares)
    if newer:
        return IsaRecord(isa=isa, verified=False, reason=f"not verified: {newer[0]} ran all the same", kernels=shares)
    verdict = judge(answer.records, int8_share(ran), budget)
    return IsaRecord(
        isa=isa,
        verified=True,
        reason="; ".join(verdict.failures),
        met=verdict.met,
        excess=verdict.excess,
        worst_mean_drop=verdict.worst_mean_drop,
        worst_case_drop=verdict.worst_case_drop,
        worst_mean_disagreement=verdict.worst_mean_disagreement,
        int8_share=int8_share(ran),
        kernels=shares,
    )


def main() -> None:
    """The child: a job on stdin, the answer on stdout."""
    job = msgspec.json.decode(job_from_parent(), type=IsaQuestion)
    cohort = load_cohort(job.cohort)
    cases = [case for case in cohort.cases() if case.number in job.cases]
    runtime = job.runtime.options(resident_graphs=2)
    candidate = ModelPackage(Path(job.folder), job.manifest)
    records = measure(Segmenter.open(candidate, runtime), cases, Path(job.masks), subject_numbers(cohort))
    answer = IsaAnswer(records=records, kernels=package_kernels(candidate, job.shapes, runtime))
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
