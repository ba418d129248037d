"""Measurement of a package in a child process that imitates an older CPU as far as this CPU can.

oneDNN reads `ONEDNN_MAX_CPU_ISA` once, when a process starts. CPUs without VNNI add two 8-bit products in 16 bits,
which saturate: a package that was judged on a new CPU alone may be worse on the workstation. Layers that OpenVINO would
not run in INT8 on the older CPU run in float here. Kernels that the variable does not bind, such as OpenVINO's own
norms, are recorded.
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.bench.child import ChildOptions, ask_child, job_from_parent
from brain_edge.bench.counted import Input, counted
from brain_edge.engine.segmenter import Segmenter
from brain_edge.evaluation.cohort import load_cohort
from brain_edge.evaluation.evidence import AccuracyCase, FloatLayer, Isa, IsaRecord
from brain_edge.machine.isa import newest_is_avx2
from brain_edge.machine.json import decode_json
from brain_edge.package import Manifest, ModelPackage
from brain_edge.spec import Value
from brain_edge_conversion.budget.budget import judge
from brain_edge_conversion.budget.coverage import int8_share, kernel_shares
from brain_edge_conversion.budget.kernels import (
    Executed,
    executed_package,
    largest_shapes,
    newer_than_avx2,
    ran_in_words,
)
from brain_edge_conversion.budget.measure import measure, subject_numbers
from brain_edge_conversion.budget.without_avx512 import layers_without_avx512, without_avx512

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from brain_edge.evaluation.cohort import Case
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge_conversion.budget.budget import AccuracyBudget

VARIABLE: Final = "ONEDNN_MAX_CPU_ISA"
MODULE: Final = "brain_edge_conversion.budget.isa"
X86: Final = frozenset({"x86_64", "amd64"})
OLDER: Final = "as-on-an-older-cpu"
"""Folder, beside the baseline's masks, of the graphs that the child runs."""


class IsaQuestion(Value, frozen=True):
    """Job of the child: files and numbers only, because the child shares nothing else with its parent.

    Without `shapes` the child measures the package as it is; with `shapes`, as an older CPU would run it.
    """

    folder: str
    manifest: Manifest
    cohort: str
    cases: tuple[int, ...]
    masks: str
    runtime: ChildOptions
    shapes: dict[str, tuple[int, ...]] | None


class IsaAnswer(Value, frozen=True):
    """Answer of the child: masks against the baseline, the kernels that ran, and the layers kept in float."""

    records: tuple[AccuracyCase, ...]
    executed: Executed
    float_layers: tuple[FloatLayer, ...]


def measure_package(
    candidate: ModelPackage,
    cases: Sequence[Case],
    masks: Path,
    subjects: Mapping[int, int],
    runtime: RuntimeOptions,
) -> tuple[tuple[AccuracyCase, ...], Executed]:
    """Compare a package with the baseline (see `measure`), and name its kernels at the largest input that it ran on."""
    seen = Counter[Input]()
    records = measure(Segmenter.open(candidate, runtime, wrap=counted(seen)), cases, masks, subjects)
    return records, executed_package(candidate, largest_shapes(seen), runtime)


def make_job(
    candidate: ModelPackage,
    cases: Sequence[Case],
    masks: Path,
    shapes: dict[str, tuple[int, ...]] | None,
    runtime: RuntimeOptions,
) -> IsaQuestion:
    """Return the job that measures a package, sealed or not, on cases of one cohort.

    Args:
        candidate: package to measure.
        cases: cases of one cohort.
        masks: folder of the baseline's masks.
        shapes: largest input shape of each graph; None measures the package as it is.
        runtime: runtime options of the child.
    """
    return IsaQuestion(
        folder=str(candidate.folder),
        manifest=candidate.manifest,
        cohort=cases[0].cohort,
        cases=tuple(case.number for case in cases),
        masks=str(masks),
        runtime=ChildOptions.of(runtime),
        shapes=shapes,
    )


def obstacle(machine: str) -> str:
    """Return the reason why older x86 instructions cannot be measured; empty if they can.

    Args:
        machine: machine name from `platform.machine`.
    """
    return "" if machine.lower() in X86 else f"not verified: this CPU is {machine}, not x86"


def measure_under(isa: Isa, job: IsaQuestion) -> IsaAnswer:
    """Run a job in a child process whose oneDNN is limited to these instructions; the child ends with this process.

    Raises:
        BrainEdgeError: the child failed; the message carries the child's last line.
    """
    answer = ask_child(MODULE, job, f"the measurement under {isa}", {VARIABLE: isa})
    return decode_json(answer, IsaAnswer)


def measure_apart(job: IsaQuestion) -> IsaAnswer:
    """Run a job without shapes in a child process, because an untried graph may crash OpenVINO's compiler.

    Raises:
        CrashError: the child crashed.
        BrainEdgeError: the child failed in another way; the message carries the child's last line.
    """
    return decode_json(ask_child(MODULE, job, "the measurement"), IsaAnswer)


def avx2_record(job: IsaQuestion, here: IsaAnswer, budget: AccuracyBudget, announce: Callable[[], object]) -> IsaRecord:
    """Measure and judge a package under AVX2; if that is impossible, the record carries the reason.

    On a CPU whose newest instructions are AVX2 the measurement of the package as it is holds, and nothing runs again.
    A bf16 package is measured in f32, as a CPU with AVX2 runs it.

    Args:
        job: measurement to run, with shapes.
        here: answer for the same cases on this CPU.
        budget: limits, including the INT8 share on a CPU with AVX2.
        announce: function that tells the user that a second measurement begins.
    """
    reason = obstacle(platform.machine())
    if reason:
        return IsaRecord(isa=Isa.AVX2, verified=False, reason=reason)
    if newest_is_avx2():
        return _record(Isa.AVX2, _with_float_layers(job, here), budget)
    announce()
    return _record(Isa.AVX2, measure_under(Isa.AVX2, job), budget)


def _with_float_layers(job: IsaQuestion, here: IsaAnswer) -> IsaAnswer:
    package = ModelPackage(Path(job.folder), job.manifest)
    return msgspec.structs.replace(here, float_layers=layers_without_avx512(package, here.executed.shapes))


def _record(isa: Isa, answer: IsaAnswer, budget: AccuracyBudget) -> IsaRecord:
    layers, nodes = answer.executed.all_layers, answer.executed.nodes
    shares, share = kernel_shares(layers), int8_share(layers)
    newer = newer_than_avx2(shares)
    if newer:
        reason = f"not verified: {newer[0]} ran all the same"
        return IsaRecord(isa=isa, verified=False, reason=reason, kernels=shares, nodes=nodes, ran=ran_in_words(nodes))
    verdict = judge(answer.records, share, budget)
    return IsaRecord(
        isa=isa,
        verified=True,
        reason="; ".join(verdict.failures),
        met=verdict.met,
        excess=verdict.excess,
        worst_mean_drop=verdict.worst_mean_drop,
        worst_case_drop=verdict.worst_case_drop,
        worst_mean_disagreement=verdict.worst_mean_disagreement,
        int8_share=share,
        kernels=shares,
        nodes=nodes,
        ran=ran_in_words(nodes),
        float_layers=answer.float_layers,
    )


def main() -> None:
    """Run the child: read a job from stdin, write the answer to stdout."""
    job = decode_json(job_from_parent(), IsaQuestion)
    cohort = load_cohort(job.cohort)
    cases = [case for case in cohort.cases() if case.number in job.cases]
    runtime = job.runtime.options(resident_graphs=2)
    masks, scratch = Path(job.masks), Path(job.masks) / OLDER
    shutil.rmtree(scratch, ignore_errors=True)  # left by an interrupted child
    candidate = ModelPackage(Path(job.folder), job.manifest)
    float_layers: tuple[FloatLayer, ...] = ()
    if job.shapes is not None:
        candidate, float_layers = without_avx512(candidate, job.shapes, scratch)
    records, executed = measure_package(candidate, cases, masks, subject_numbers(cohort), runtime)
    shutil.rmtree(scratch, ignore_errors=True)
    sys.stdout.buffer.write(msgspec.json.encode(IsaAnswer(records, executed, float_layers)))


if __name__ == "__main__":
    main()
