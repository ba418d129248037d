"""Ways to share the cores of this machine among the cases of a batch, against single runs in one process.

    python -m benchmarks sharing PKG HEAD... --threads 2 --cases 24 --rounds 3

Single runs (`run_case`, one after the other, with all threads) and each way of `--at-once auto` take turns: one process
with one to three cases at once, and several processes with disjoint cores and one compiled network each. The masks of
the processes are compared byte by byte with single runs of the same number of threads before anything is timed.

The bound is the rate if all cores were busy all the time: the time of a single run, times the cores, divided by the CPU
time of a run with one thread. That CPU time is taken twice: while the other cores are idle, and while each core runs
the same cases in a process that shares nothing with the others. Busy cores slow each other through the memory and the
clock, and no way of sharing undoes that; so the second bound is the one to reach. The start of a process is in no
bound, so that the throughput is that of the cases after the first ones. Memory of a process is compared with the
prediction of the package.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from benchmarks.harness.record import write_record
from brain_edge.cluster.auto import Measured, Sharing, engine_of, keep, machine_of, sharings
from brain_edge.cluster.probe import probe
from brain_edge.cluster.processes import shared
from brain_edge.cluster.task import pin
from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BrainEdgeError
from brain_edge.jobs.batch import Batch, run_batch
from brain_edge.jobs.case import Job, run_case
from brain_edge.jobs.outputs import Outputs
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import open_package

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import Barrier

    from brain_edge.package import ModelPackage

RESIDENT: Final = 2
"""Compiled graphs that stay in memory, as `brain-edge run` has it for a batch."""


@dataclass(frozen=True)
class Sides:
    """What all ways share: package, images, cores, number of cases and a folder for masks."""

    package: ModelPackage
    heads: tuple[Path, ...]
    cores: int
    cases: int
    folder: Path

    def jobs(self, what: str) -> tuple[Job, ...]:
        """The cases, the heads in turn, with masks in a folder of their own."""
        place = self.folder / what
        place.mkdir()
        (sequence,) = self.package.spec.inputs
        return tuple(
            Job(
                {sequence.name: self.heads[number % len(self.heads)].resolve()},
                Outputs(mask=place / f"{number}_mask.nii.gz"),
                case=f"{number}",
            )
            for number in range(self.cases)
        )


@dataclass(frozen=True)
class Times:
    """When the cases of a batch ended.

    Attributes:
        ends_s: seconds from the start of the batch to the end of each case, in order.
        at_once: number of cases that run at the same time; the first of them end after the start of all processes.
    """

    ends_s: tuple[float, ...]
    at_once: int

    @property
    def whole_s(self) -> float:
        """Time of the batch, with the start."""
        return self.ends_s[-1]

    @property
    def case_s(self) -> float:
        """Time of a case among those that end after the first ones."""
        first = self.ends_s[self.at_once - 1]
        return (self.ends_s[-1] - first) / (len(self.ends_s) - self.at_once)


WHOLE: Final[Callable[[Times], float]] = attrgetter("whole_s")
EACH: Final[Callable[[Times], float]] = attrgetter("case_s")


@click.command()
@click.argument("package", type=click.Path(path_type=Path, exists=True))
@click.argument("heads", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--threads", "cores", type=int, help="Cores to share [those of this process].")
@click.option("--cases", default=24, show_default=True, help="In a round, of each way.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--remember", is_flag=True, help="Keep the answer for --at-once auto.")
def main(package: Path, heads: tuple[Path, ...], cores: int | None, cases: int, rounds: int, remember: bool) -> None:
    """Compare, print, and write the result."""
    started = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(open_package(package), heads, cores or default_threads(), cases, Path(folder))
        figures = compared(sides, rounds)
    path = write_record(
        "ways to share the cores among the cases of a batch",
        f"sharing-{sides.package.spec.name}",
        started,
        package_digest=sides.package.digest,
        threads=sides.cores,
        cases=cases,
        **figures,
    )
    for way, ratio in figures["rate_to_single_runs"].items():
        after = figures["throughput_to_single_runs"][way]
        click.echo(f"{ratio:5.2f}  {after:5.2f} without the start  {way}", err=True)
    click.echo(f"{figures['bound_of_idle_cores']:5.2f}  bound if busy cores did not slow each other", err=True)
    click.echo(f"{figures['bound']:5.2f}  bound; {path}", err=True)
    if remember:
        keep(_answer(sides, figures))


def compared(sides: Sides, rounds: int) -> dict[str, Any]:
    """Rates of each way to single runs, round by round in turn, with the bound and the memory of a process."""
    ways = sharings(sides.cores)
    alone_s, busy_s = _require_same_masks(sides, ways[-1]), _busy_cpu_s(sides)
    single, taken = list[Times](), {str(way): list[Times]() for way in ways}
    for number in range(rounds):
        single.append(_single(sides, sides.jobs(f"single-{number}"), sides.cores))
        for way in ways:
            taken[str(way)].append(_batch(sides, f"{number}-{way}", way)[0])
    whole, steady = _median(single, WHOLE), _median(single, EACH)
    memory = _memory(sides, ways[-1])
    return {
        "single_s": [each.whole_s for each in single],
        "single_case_s": [each.case_s for each in single],
        "batch_s": {way: [each.whole_s for each in times] for way, times in taken.items()},
        "batch_case_s": {way: [each.case_s for each in times] for way, times in taken.items()},
        "rate_to_single_runs": {way: whole / _median(times, WHOLE) for way, times in taken.items()},
        "throughput_to_single_runs": {way: steady / _median(times, EACH) for way, times in taken.items()},
        "cpu_s_of_one_thread": alone_s,
        "cpu_s_of_one_thread_of_busy_cores": busy_s,
        "bound_of_idle_cores": steady * sides.cases * sides.cores / alone_s,
        "bound": steady * sides.cases * sides.cores / statistics.mean(busy_s),
        **memory,
    }


def _require_same_masks(sides: Sides, way: Sharing) -> float:
    """Compare the masks of processes with those of single runs; return the CPU time of the latter, one thread each."""
    jobs = sides.jobs("one-thread")
    cpu_s = _cpu_s(sides, jobs, way.threads)
    _, others = _batch(sides, "checked", way)
    for one, other in zip(jobs, others, strict=True):
        if one.outputs.mask.read_bytes() != other.outputs.mask.read_bytes():
            raise BrainEdgeError(f"case {one.case}: a process gave another mask than a single run; nothing was timed")
    return cpu_s


def _cpu_s(sides: Sides, jobs: Sequence[Job], threads: int, all_are_ready: Callable[[], object] = int) -> float:
    """CPU time of the cases one after the other, without the start, which ends when all are ready."""
    warm = Segmenter.open(sides.package, RuntimeOptions(threads=threads, resident_graphs=RESIDENT))
    all_are_ready()
    begin = time.process_time()
    for job in jobs:
        run_case(warm, job)
    return time.process_time() - begin


def _busy_cpu_s(sides: Sides) -> list[float]:
    """CPU time of all cases on each core, while every other core does the same in a process of its own."""
    context = get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(sides.cores, context) as pool:
        barrier = manager.Barrier(sides.cores)
        return list(pool.map(_on_one_core, [sides] * sides.cores, range(sides.cores), [barrier] * sides.cores))


def _on_one_core(sides: Sides, core: int, barrier: Barrier) -> float:
    pin(core, 1)
    return _cpu_s(sides, sides.jobs(f"busy-{core}"), 1, barrier.wait)


def _single(sides: Sides, jobs: Sequence[Job], threads: int) -> Times:
    begin, ends = time.perf_counter(), []
    warm = Segmenter.open(sides.package, RuntimeOptions(threads=threads, resident_graphs=RESIDENT))
    for job in jobs:
        run_case(warm, job)
        ends.append(time.perf_counter() - begin)
    return Times(tuple(ends), 1)


def _batch(sides: Sides, what: str, way: Sharing) -> tuple[Times, tuple[Job, ...]]:
    jobs, ends = sides.jobs(what.replace("/", "-")), []
    batch = Batch(records=jobs[0].outputs.mask.parent, at_once=way.at_once, engine=engine_of(way))
    begin = time.perf_counter()
    options = RuntimeOptions(threads=way.threads, resident_graphs=RESIDENT)
    with closing(run_batch(sides.package, jobs, batch, options)) as results:
        for result in results:
            if result.error is not None:
                raise result.error
            ends.append(time.perf_counter() - begin)
    return Times(tuple(ends), way.processes * way.at_once), jobs


def _median(times: Sequence[Times], of: Callable[[Times], float]) -> float:
    return statistics.median(map(of, times))


def _memory(sides: Sides, way: Sharing) -> dict[str, Any]:
    """Predicted and measured peak memory of a process with one case at once, in bytes."""
    (sequence,) = sides.package.spec.inputs
    largest = max(sides.heads, key=lambda head: head.stat().st_size)
    options = RuntimeOptions(threads=way.threads, resident_graphs=RESIDENT)
    _, each = shared(way.processes, options)
    predicted = probe(sides.package, [{sequence.name: largest}], each).needed_bytes(1)
    jobs = sides.jobs("memory")
    batch = Batch(records=jobs[0].outputs.mask.parent, at_once=1, engine=engine_of(way))
    with closing(run_batch(sides.package, jobs, batch, options)) as results:
        runs = [result.record.run for result in results]
    peaks = [run.peak_rss_bytes for run in runs if run is not None and run.peak_rss_bytes is not None]
    return {"predicted_bytes": predicted, "measured_bytes": max(peaks, default=None)}


def _answer(sides: Sides, figures: dict[str, Any]) -> Measured:
    ways = sharings(sides.cores)
    rates = [sides.cases / statistics.median(figures["batch_s"][str(way)]) for way in ways]
    machine = machine_of(sides.cores)
    return Measured(machine=machine, digest=sides.package.digest, sharings=list(ways), cases_per_s=rates)
