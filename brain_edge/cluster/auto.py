"""The fastest way to share the cores of this machine among the cases of a batch, measured once and remembered.

The ways are: one process whose threads share all cores, with one or several cases in progress, and several processes
with disjoint sets of cores and one compiled network each. Which is fastest depends on the model and on the machine.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.cluster.processes import Processes
from brain_edge.errors import BrainEdgeError, InputError
from brain_edge.jobs.batch import Batch, UnplannedCase, run_batch
from brain_edge.jobs.batch.engine import AT_ONCE, threads_of_this_process
from brain_edge.jobs.outputs import Outputs
from brain_edge.machine.atomic import atomic_file, make_folder
from brain_edge.machine.cache_folder import cache_folder
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.description import this_machine
from brain_edge.machine.json import decode_json
from brain_edge.machine.paths import read_small

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from brain_edge.jobs.batch import CaseResult
    from brain_edge.jobs.batch.options import Engine
    from brain_edge.jobs.case import Job
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

LEAST_CASES: Final = 50
"""Cases from which on a measurement pays; a smaller batch that nothing is known of has the default."""
PER_PROCESS: Final = 4
"""Cases per process in a measurement, so that its start is a small part."""


class Sharing(msgspec.Struct, frozen=True):
    """A way to share the cores of a machine.

    Attributes:
        processes: number of processes.
        threads: number of inference threads of each process.
        at_once: number of cases in progress at once in each process.
    """

    processes: int
    threads: int
    at_once: int

    def __str__(self) -> str:
        return f"{self.processes} process(es) x {self.threads} thread(s), {self.at_once} case(s) at once in each"


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Measurement of the ways on one machine with one package.

    Attributes:
        machine: name of the processor, with the number of cores that the process may use.
        digest: digest of the package.
        cases_per_s: rate of each way, in the order of `sharings`, in cases per second.
    """

    machine: str
    digest: str
    sharings: list[Sharing]
    cases_per_s: list[float]

    @property
    def best(self) -> Sharing:
        """The way with the highest rate."""
        return max(zip(self.cases_per_s, self.sharings, strict=True), key=lambda pair: pair[0])[1]


@dataclass(frozen=True)
class Auto:
    """Engine of a batch: the way that was fastest here, which a large batch measures with its own first cases.

    Attributes:
        tell: function that receives messages for the user.
    """

    tell: Callable[[str], None]

    @contextmanager
    def __call__(
        self,
        package: ModelPackage,
        cases: Sequence[Job | UnplannedCase],
        batch: Batch,
        options: RuntimeOptions,
        staging: Path,
    ) -> Iterator[Iterator[CaseResult]]:
        """Yield the results of the cases as they end."""
        known = remembered(package, options)
        if known is None and len(cases) >= LEAST_CASES:
            self.tell("measuring how many processes and cases at once are fastest here; the answer is kept")
            known = measured(package, cases, options)
            keep(known)
        if known is None:
            self.tell(f"{len(cases)} case(s) are too few to measure the fastest way; taking the default")
            chosen = Sharing(1, options.threads or default_threads(), AT_ONCE)
        else:
            chosen = known.best
        self.tell(f"at once: {chosen}")
        given = replace(batch, at_once=chosen.at_once)
        with engine_of(chosen)(package, cases, given, replace(options, threads=chosen.threads), staging) as results:
            yield results


def engine(*, scheduler: str | None, workers: int | None, tell: Callable[[str], None]) -> Auto:  # noqa: ARG001
    """Return the engine for the options of a command; it chooses the number of processes itself."""
    return Auto(tell)


def sharings(cores: int) -> tuple[Sharing, ...]:
    """Return the ways to try: one process, and each number of processes that divides the cores evenly."""
    one = (Sharing(1, cores, at_once) for at_once in range(1, AT_ONCE + 1))
    several = (Sharing(count, cores // count, 1) for count in range(2, cores + 1) if cores % count == 0)
    return (*one, *several)


def measured(package: ModelPackage, cases: Sequence[Job | UnplannedCase], options: RuntimeOptions) -> Measured:
    """Run the same cases each way, and return the rates; the results are thrown away.

    Each way runs as many cases as the most processes need, and the start of its processes counts.

    Raises:
        InputError: no case can run.
        BrainEdgeError: a case has failed.
    """
    cores = options.threads or default_threads()
    jobs = [case for case in cases if not isinstance(case, UnplannedCase)]
    if not jobs:
        raise InputError("expected a case that can run, got none; correct the inputs, or give --at-once N")
    ways, count = sharings(cores), PER_PROCESS * cores
    taken = [jobs[number % len(jobs)] for number in range(count)]
    rates = [count / _seconds(package, taken, options, way) for way in ways]
    return Measured(machine=machine_of(cores), digest=package.digest, sharings=list(ways), cases_per_s=rates)


def remembered(package: ModelPackage, options: RuntimeOptions) -> Measured | None:
    """Return the measurement of this package on this machine; None without a sound one."""
    cores = options.threads or default_threads()
    try:
        found = decode_json(read_small(_place(machine_of(cores), package.digest)), Measured)
    except (OSError, InputError, msgspec.DecodeError):
        return None
    is_sound = 0 < len(found.sharings) == len(found.cases_per_s) and set(found.sharings) <= set(sharings(cores))
    return found if is_sound else None


def keep(known: Measured) -> None:
    """Keep a measurement for later batches of this user.

    Raises:
        OutputError: the folder of the user cannot be written to.
    """
    place = _place(known.machine, known.digest)
    make_folder(place.parent)
    with atomic_file(place) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(known), indent=2))


def _seconds(package: ModelPackage, jobs: Sequence[Job], options: RuntimeOptions, way: Sharing) -> float:
    with tempfile.TemporaryDirectory() as folder:
        named = [
            replace(job, case=f"{number}", outputs=Outputs(mask=Path(folder) / f"{number}_mask.nii.gz"))
            for number, job in enumerate(jobs)
        ]
        batch = Batch(records=Path(folder), at_once=way.at_once, engine=engine_of(way))
        begin = time.perf_counter()
        with closing(run_batch(package, named, batch, replace(options, threads=way.threads))) as results:
            for result in results:
                if result.error is not None:
                    raise BrainEdgeError(f"{result.case}: the measurement failed; give --at-once N") from result.error
        return time.perf_counter() - begin


def engine_of(way: Sharing) -> Engine:
    """Return the engine that runs a batch in this way; the threads and the cases at once are options of the run."""
    return threads_of_this_process if way.processes == 1 else Processes(way.processes)


def machine_of(cores: int) -> str:
    """Return the name of this machine with the cores that a batch shares."""
    machine = this_machine()
    return f"{machine.name}, {machine.isa}, {cores} core(s)"


def _place(machine: str, digest: str) -> Path:
    name = hashlib.sha256(f"{machine} {digest}".encode()).hexdigest()[:24]
    return cache_folder("at-once") / f"{name}.json"
