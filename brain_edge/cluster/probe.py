"""Time and memory of the first cases, measured in a child process; their masks are thrown away.

    python -m brain_edge.cluster.probe

The child reads its job from stdin and prints a `Probe`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from brain_edge.bench.child import ChildOptions, ask_child, job_from_parent
from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import ImplausibleError
from brain_edge.jobs.case import Job, run_case
from brain_edge.jobs.outputs import Outputs
from brain_edge.machine.process import peak_rss_bytes, return_free_memory, rss_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brain_edge.engine.segmenter import WarmSegmenter
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage


class ProbeJob(msgspec.Struct, frozen=True, kw_only=True):
    """Job of the child: package, files of each case by sequence, options."""

    package: str
    cases: list[dict[str, str]]
    options: ChildOptions


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """Time and memory of the first cases.

    Attributes:
        start_s: time to open and compile the package, in seconds.
        seconds: time of each case with compiled networks, in seconds.
        idle_bytes: memory of the process before the largest case, in bytes; None if the system reports none.
        peak_bytes: peak memory of a process with one case at once, in bytes.
    """

    start_s: float
    seconds: list[float]
    idle_bytes: int | None
    peak_bytes: int

    def needed_bytes(self, at_once: int) -> int:
        """Return the memory of a process with several cases in progress, in bytes."""
        return self.peak_bytes + (at_once - 1) * max(0, self.peak_bytes - (self.idle_bytes or 0))


def probe(package: ModelPackage, cases: Sequence[Mapping[str, Path]], options: RuntimeOptions) -> Probe:
    """Run cases in a child process, the largest last, and return their time and memory.

    Raises:
        BrainEdgeError: a case cannot be run.
    """
    named = [{name: str(path.resolve()) for name, path in case.items()} for case in cases]
    job = ProbeJob(package=str(package.folder.resolve()), cases=named, options=ChildOptions.of(options))
    return msgspec.json.decode(ask_child(__name__, job, "the first cases"), type=Probe)


def _measured(job: ProbeJob) -> Probe:
    begin = time.perf_counter()
    warm = Segmenter.open(Path(job.package), job.options.options(resident_graphs=2))
    studies = [{name: Path(path) for name, path in case.items()} for case in job.cases]
    with tempfile.TemporaryDirectory() as folder:
        _run(warm, studies[-1], Path(folder) / "first.nii.gz")
        start_s, seconds, idle = time.perf_counter() - begin, [], None
        for number, inputs in enumerate(studies):
            return_free_memory()  # as between the cases of a batch
            idle, begin = rss_bytes(), time.perf_counter()
            _run(warm, inputs, Path(folder) / f"{number}.nii.gz")
            seconds.append(time.perf_counter() - begin)
    return Probe(start_s=start_s, seconds=seconds, idle_bytes=idle, peak_bytes=peak_rss_bytes())


def _run(warm: WarmSegmenter, inputs: Mapping[str, Path], mask: Path) -> None:
    """Run a case as a batch does; its mask is thrown away, and may be empty."""
    with suppress(ImplausibleError):
        run_case(warm, Job(dict(inputs), Outputs(mask=mask), case="first"))


if __name__ == "__main__":
    answer = _measured(msgspec.json.decode(job_from_parent(), type=ProbeJob))
    sys.stdout.buffer.write(msgspec.json.encode(answer))
