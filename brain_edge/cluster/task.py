"""One case as a task of another process: its package stays warm there from case to case.

A killed process leaves a partial file at most, which has no final name. The lock of a case is held while it runs, so
that a process that lives on beside its successor does not run the case a second time.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Self

from brain_edge import __version__, errors
from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BrainEdgeError, UsageError
from brain_edge.jobs.batch import UnplannedCase
from brain_edge.jobs.batch.books import Books
from brain_edge.jobs.batch.case import CaseRunner, is_disk_full
from brain_edge.jobs.batch.first_pass import FirstAlone
from brain_edge.jobs.batch.lock import claimed
from brain_edge.jobs.batch.resume import MadeBy
from brain_edge.machine.atomic import make_folder, remove_leftovers
from brain_edge.package import open_package

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.engine.segmenter import WarmSegmenter
    from brain_edge.jobs.batch import Batch, CaseResult
    from brain_edge.jobs.case import Job
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

PASSING: Final = frozenset({errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.ECONNRESET})
"""Errors of a shared disk that may be gone at the next attempt."""
_OPENING: Final = Lock()


@dataclass(frozen=True)
class Setup:
    """What the cases of a batch share; it is sent with each case.

    Attributes:
        package: folder of the package, as the workers see it.
        digest: digest that the package must have there.
        batch: options of the batch.
        options: options of the runtime.
        staging: folder of the files that are not finished.
        version: version of the program that sends the cases.
    """

    package: Path
    digest: str
    batch: Batch
    options: RuntimeOptions
    staging: Path
    version: str = __version__

    @classmethod
    def of(cls, package: ModelPackage, batch: Batch, options: RuntimeOptions, staging: Path) -> Self:
        """Return the setup of a batch, with paths that mean the same in another current folder."""
        whole = replace(batch, records=batch.records.resolve(), engine=None)
        places = {"stage_zero": options.stage_zero, "cache_folder": options.cache_folder}
        named: dict[str, Any] = {name: path.absolute() for name, path in places.items() if path is not None}
        return cls(package.folder.resolve(), package.digest, whole, replace(options, **named), staging.resolve())


@dataclass(frozen=True)
class Answer:
    """Result of a case on its way back: without its error, which not every process can rebuild.

    Attributes:
        result: result of the case; its record has the message of the error.
        disk_is_full: the disk or quota is full.
    """

    result: CaseResult
    disk_is_full: bool = False

    def unpacked(self) -> CaseResult:
        """Return the result with an error of the same class, message and cause."""
        told = self.result.record.error
        if told is None:
            return self.result
        kind = getattr(errors, told.kind, None)
        error: Exception = RuntimeError(told.message)
        if isinstance(kind, type) and issubclass(kind, BrainEdgeError):
            error = kind.__new__(kind, told.message)
            error.args = (told.message,)
        if self.disk_is_full:
            error.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self.result, error=error)


class PassingError(Exception):
    """The case failed for a reason that may be gone at the next attempt; its answer is the argument."""


def run_task(setup: Setup, job: Job | UnplannedCase) -> Answer:
    """Run a case in this process, which keeps the package warm for the next one.

    Raises:
        UsageError: this process has another version of brain-edge.
        PackageError: the package is another one here.
        PassingError: an error of a shared disk, which may be gone at the next attempt.
    """
    with claimed(Books(setup.batch.records), job.case):
        _remove_partial(setup, job)
        result = _runner(setup)(job)
    answer = Answer(replace(result, error=None), is_disk_full(result.error))
    if _is_passing(result.error):
        raise PassingError(answer)
    return answer


def absolute(case: Job | UnplannedCase) -> Job | UnplannedCase:
    """Return a case whose paths mean the same in another current folder."""
    inputs = {name: path.absolute() for name, path in case.inputs.items()}
    if isinstance(case, UnplannedCase):
        return replace(case, inputs=inputs)
    named: dict[str, Any] = {kind: path.absolute() for kind, path in case.outputs.files().items()}
    return replace(case, inputs=inputs, outputs=replace(case.outputs, **named))


def pin(number: int, threads: int) -> None:
    """Let this process use only its own cores: the `number`-th set of `threads` cores, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    own = cores[number * threads : (number + 1) * threads]
    if len(own) == threads and len(cores) > threads:
        os.sched_setaffinity(0, own)


def _runner(setup: Setup) -> CaseRunner:
    with _OPENING:  # two threads of a worker share a package
        return _opened(setup)


@lru_cache(maxsize=1)
def _opened(setup: Setup) -> CaseRunner:
    if setup.version != __version__:
        raise UsageError(f"expected brain-edge {setup.version} on each worker, got {__version__}; install one version")
    package = open_package(setup.package, setup.digest)

    @lru_cache(maxsize=1)
    def warm() -> WarmSegmenter:
        return Segmenter.open(package, setup.options)

    return CaseRunner(
        package,
        warm,
        setup.batch,
        setup.staging,
        lambda: None,
        FirstAlone(setup.options.max_memory_bytes),
        MadeBy.of(package, setup.options),
    )


def _remove_partial(setup: Setup, job: Job | UnplannedCase) -> None:
    """Remove the partial files that a killed worker left for this case."""
    names = [setup.batch.record(job.case), *(() if isinstance(job, UnplannedCase) else job.outputs.paths())]
    make_folder(setup.staging)
    remove_leftovers([setup.staging / path.name for path in names], alone=True)


def _is_passing(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in PASSING:
            return True
        error = error.__cause__
    return False
