"""Cases on several processes of this machine, each with its own cores and its own compiled networks."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from brain_edge.cluster.task import PassingError, Setup, absolute, pin, run_task
from brain_edge.errors import BatchError
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.process import free_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from brain_edge.cluster.task import Answer
    from brain_edge.jobs.batch import Batch, CaseResult, UnplannedCase
    from brain_edge.jobs.case import Job
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

AHEAD: Final = 2
"""Cases that wait for each process, so that none is idle and 100,000 cases take no memory."""


@dataclass(frozen=True)
class Processes:
    """Engine of a batch.

    Attributes:
        workers: number of processes; by default one per set of threads, or one per core.
    """

    workers: int | None = None

    @contextmanager
    def __call__(
        self,
        package: ModelPackage,
        cases: Sequence[Job | UnplannedCase],
        batch: Batch,
        options: RuntimeOptions,
        staging: Path,
    ) -> Iterator[Iterator[CaseResult]]:
        """Yield the results of the cases as they end; all processes have ended when the block is left."""
        count, own = shared(self.workers, options)
        setup = Setup.of(package, batch, own, staging)
        context = get_context("spawn")  # a fork of a process with threads may wait for ever
        numbers = context.Value("i", 0)
        begin: Callable[[], None] = partial(_begin, numbers, own.threads or 1)
        pool = ProcessPoolExecutor(count, context, initializer=begin)
        try:
            yield _results(pool, setup, cases, count)
        finally:
            pool.shutdown(cancel_futures=True)


def engine(*, scheduler: str | None, workers: int | None, tell: Callable[[str], None]) -> Processes:  # noqa: ARG001
    """Return the engine for the options of a command; there is no scheduler."""
    return Processes(workers)


def shared(workers: int | None, options: RuntimeOptions) -> tuple[int, RuntimeOptions]:
    """Share the cores and the memory of this machine among processes.

    Args:
        workers: number of processes; None for one per set of threads.
        options: options of the runtime, for all processes together where they state memory.

    Returns:
        The number of processes and the options of each.
    """
    cores = default_threads()
    count = workers or max(1, cores // (options.threads or 1))
    free = free_memory()
    limit = options.max_memory_bytes or (None if free is None else free.size_bytes // count)
    return count, replace(options, threads=options.threads or max(1, cores // count), max_memory_bytes=limit)


def _begin(numbers: Any, threads: int) -> None:
    """Take the next set of cores, leave Ctrl-C to the parent, and end with the parent."""
    with numbers.get_lock():
        number, numbers.value = numbers.value, numbers.value + 1
    pin(number, threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
    os._exit(1)


def _results(
    pool: ProcessPoolExecutor, setup: Setup, cases: Sequence[Job | UnplannedCase], count: int
) -> Iterator[CaseResult]:
    """Yield the results of the cases.

    Raises:
        BatchError: a process was killed.
    """
    coming = (absolute(case) for case in cases)
    running = {pool.submit(run_task, setup, case) for case in islice(coming, AHEAD * count)}
    done = 0
    while running:
        future = next(as_completed(running))
        running.remove(future)
        try:
            answer = _answer(future)
            running |= {pool.submit(run_task, setup, case) for case in islice(coming, 1)}
        except BrokenProcessPool as error:
            raise BatchError(
                f"a process was killed, for instance for its memory: {len(cases) - done} of {len(cases)} cases have no "
                "result; run the batch again, finished cases stay"
            ) from error
        done += 1
        yield answer.unpacked()


def _answer(future: Future[Answer]) -> Answer:
    try:
        return future.result()
    except PassingError as error:
        answer: Answer = error.args[0]
        return answer
