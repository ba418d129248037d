"""Time and memory of the first cases, measured in a child process; no result is written.

    python -m brain_edge.cluster.probe

The child reads its job from stdin and prints a `Probe`.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from brain_edge.bench.child import ChildOptions, ask_child, job_from_parent
from brain_edge.engine import memory
from brain_edge.engine.memory import MemoryLimit
from brain_edge.engine.segmenter import Segmenter
from brain_edge.jobs.case import read_study
from brain_edge.machine.process import peak_rss_bytes, rss_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from brain_edge.engine.memory import Ahead
    from brain_edge.image.geometry import Shape
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage
    from brain_edge.runtime.protocol import Session


class ProbeJob(msgspec.Struct, frozen=True, kw_only=True):
    """Job of the child: package, files of each case by sequence, options."""

    package: str
    cases: list[dict[str, str]]
    options: ChildOptions


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """Time and memory of the first cases.

    Attributes:
        start_s: time to open and compile the package, in seconds.
        seconds: time of each case with compiled networks, without the writing of its mask, in seconds.
        idle_bytes: memory of the process before the largest case, in bytes.
        predicted_bytes: predicted peak memory of a process with one case, in bytes; None if the system reports none.
        measured_bytes: measured peak memory of that process, in bytes.
    """

    start_s: float
    seconds: list[float]
    idle_bytes: int | None
    predicted_bytes: int | None
    measured_bytes: int

    def needed_bytes(self, at_once: int) -> int:
        """Return the memory of a process with several cases in progress, in bytes."""
        one = self.predicted_bytes or self.measured_bytes
        return one + (at_once - 1) * max(0, one - (self.idle_bytes or 0))


def probe(package: ModelPackage, cases: Sequence[Mapping[str, Path]], options: RuntimeOptions) -> Probe:
    """Run cases in a child process, the largest last, and return their time and memory.

    Raises:
        BrainEdgeError: a case cannot be run.
    """
    named = [{name: str(path.resolve()) for name, path in case.items()} for case in cases]
    job = ProbeJob(package=str(package.folder.resolve()), cases=named, options=ChildOptions.of(options))
    return msgspec.json.decode(ask_child(__name__, job, "the first cases"), type=Probe)


@dataclass(frozen=True)
class _Predicting(MemoryLimit):
    """Memory limit that also keeps every prediction, in bytes."""

    predictions: list[int] = field(default_factory=list)

    def require(self, stages: Iterable[Ahead], native: Shape, sessions: Mapping[str, Session]) -> bool:
        """Predict as the parent class does where memory is short."""
        known = tuple(stages)
        predicted = memory.predicted_peak_bytes(known, native, sessions)
        self.predictions.extend([] if predicted is None else [predicted])
        return super().require(known, native, sessions)


def _measured(job: ProbeJob) -> Probe:
    begin, limit = time.perf_counter(), _Predicting()
    warm = Segmenter.open(Path(job.package), job.options.options(resident_graphs=2), memory=limit)
    studies = [{name: Path(path) for name, path in case.items()} for case in job.cases]
    warm(read_study(studies[-1], warm.spec))
    start_s, predicted = time.perf_counter() - begin, max(limit.predictions, default=None)
    seconds, idle = [], None
    for inputs in studies:
        idle, begin = rss_bytes(), time.perf_counter()
        warm(read_study(inputs, warm.spec))
        seconds.append(time.perf_counter() - begin)
    return Probe(
        start_s=start_s,
        seconds=seconds,
        idle_bytes=idle,
        predicted_bytes=predicted,
        measured_bytes=peak_rss_bytes(),
    )


if __name__ == "__main__":
    answer = _measured(msgspec.json.decode(job_from_parent(), type=ProbeJob))
    sys.stdout.buffer.write(msgspec.json.encode(answer))
