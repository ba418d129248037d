"""The same measurement with the instructions of another CPU, in a child process.

oneDNN reads `ONEDNN_MAX_CPU_ISA` once, when a process starts. CPUs without VNNI add two 8-bit products in 16 bits,
which saturate: a package that was judged on a new CPU only may be worse on the workstation.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.cohort import load_cohort
from brain_edge.errors import BrainEdgeError
from brain_edge.package import Manifest, ModelPackage, Precision
from brain_edge.package.manifest import CaseRecord, IsaRecord
from brain_edge.runtime.options import RuntimeOptions
from brain_edge.spec import Value
from brain_edge_conversion.accuracy.measure import measure, subject_numbers
from brain_edge_conversion.budget import judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.cohort import Case
    from brain_edge_conversion.budget import AccuracyBudget

VARIABLE: Final = "ONEDNN_MAX_CPU_ISA"
AVX2: Final = "AVX2"
"""What every x86 workstation of the last ten years has."""
MODULE: Final = "brain_edge_conversion.accuracy.isa"
X86: Final = frozenset({"x86_64", "amd64"})


class Job(Value, frozen=True):
    """What the child is asked to do: files and numbers only, since it shares nothing else with its parent."""

    folder: str
    manifest: Manifest
    cohort: str
    cases: tuple[int, ...]
    masks: str
    threads: int | None


def make_job(candidate: ModelPackage, cases: Sequence[Case], masks: Path, runtime: RuntimeOptions) -> Job:
    """The measurement of a package, sealed or not, on cases of one cohort."""
    return Job(
        folder=str(candidate.folder),
        manifest=candidate.manifest,
        cohort=cases[0].cohort,
        cases=tuple(case.number for case in cases),
        masks=str(masks),
        threads=runtime.threads,
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


def measure_under(isa: str, job: Job) -> tuple[CaseRecord, ...]:
    """Run a job in a child process that may use no more than these instructions.

    Raises:
        BrainEdgeError: the child failed; carries its last line.
    """
    done = subprocess.run(
        [sys.executable, "-m", MODULE],
        input=msgspec.json.encode(job),
        capture_output=True,
        env={**os.environ, VARIABLE: isa},
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["it does not say why"])[-1]
        raise BrainEdgeError(f"the measurement under {isa} failed (exit {done.returncode}): {reason}")
    return msgspec.json.decode(done.stdout, type=tuple[CaseRecord, ...])


def isa_record(isa: str, job: Job, share: float, budget: AccuracyBudget) -> IsaRecord:
    """Measure under other instructions and judge; where that is impossible, the record says why."""
    reason = obstacle(platform.machine(), job.manifest.precision)
    if reason:
        return IsaRecord(isa=isa, verified=False, reason=reason)
    verdict = judge(measure_under(isa, job), share, budget)
    return IsaRecord(
        isa=isa,
        verified=True,
        reason="; ".join(verdict.failures),
        met=verdict.met,
        excess=verdict.excess,
        worst_mean_drop=verdict.worst_mean_drop,
        worst_case_drop=verdict.worst_case_drop,
        worst_mean_disagreement=verdict.worst_mean_disagreement,
    )


def main() -> None:
    """The child: a job on stdin, records on stdout."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    cohort = load_cohort(job.cohort)
    cases = [case for case in cohort.cases() if case.number in job.cases]
    runtime = RuntimeOptions(threads=job.threads, resident_graphs=2)
    candidate = ModelPackage(Path(job.folder), job.manifest)
    records = measure(candidate, cases, Path(job.masks), subject_numbers(cohort), runtime)
    sys.stdout.buffer.write(msgspec.json.encode(records))


if __name__ == "__main__":
    main()
