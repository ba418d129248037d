"""Cases as tasks of Dask, on processes of this machine or on a cluster that runs already.

A worker keeps the package warm. The scheduler gives the case of a killed worker to another one; a case that kills
several workers fails. The client writes the summary.
"""

from __future__ import annotations

import concurrent.futures
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from brain_edge.cluster.processes import shared
from brain_edge.cluster.task import PassingError, Setup, absolute, pin, run_task
from brain_edge.errors import BatchError, BrainEdgeError, extra_needed
from brain_edge.jobs.batch import UnplannedCase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from brain_edge.cluster.task import Answer
    from brain_edge.jobs.batch import Batch, CaseResult
    from brain_edge.jobs.case import Job
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

RETRIES: Final = 2
"""Further attempts after an error of a shared disk."""
AHEAD: Final = 64
"""Cases that the scheduler knows beyond those that run, so that no worker waits and 100,000 cases take no memory."""
PATIENCE_S: Final = 60
"""Time in which the first worker must appear, in seconds."""
MARGIN: Final = 1.25
"""Factor from the memory that a case may take by its prediction to the memory at which Dask ends the worker."""
CONFIG: Final = {
    # images are large and short-lived: a worker neither spills them nor waits, and it ends before the system kills it
    **{f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause")},
    "distributed.worker.memory.terminate": 0.95,
    # a worker holds no case that it does not run: a death costs one attempt of one case
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.logging.distributed": "error",
}


@dataclass(frozen=True)
class Dask:
    """Engine of a batch.

    Attributes:
        scheduler: address of a running scheduler, such as `tcp://head:8786`; None for processes of this machine.
        workers: number of processes of this machine; by default one per set of threads.
        tell: function that receives messages for the user.
    """

    scheduler: str | None = None
    workers: int | None = None
    tell: Callable[[str], None] = lambda _line: None

    @contextmanager
    def __call__(
        self,
        package: ModelPackage,
        cases: Sequence[Job | UnplannedCase],
        batch: Batch,
        options: RuntimeOptions,
        staging: Path,
    ) -> Iterator[Iterator[CaseResult]]:
        """Yield the results of the cases as they end.

        Raises:
            MissingExtraError: Dask is not installed.
            BatchError: there is no scheduler or no worker.
        """
        with extra_needed("--engine dask", "distributed", "dask"):
            import dask
            import distributed
        with dask.config.set(CONFIG), ExitStack() as stack:
            if self.scheduler is None:
                client, options = _local(distributed, self.workers, batch.at_once or 1, options, stack)
            else:
                client = stack.enter_context(_connected(distributed, self.scheduler))
            self.tell(f"dashboard: {client.dashboard_link}")
            yield _results(distributed, client, Setup.of(package, batch, options, staging), cases)


def engine(*, scheduler: str | None, workers: int | None, tell: Callable[[str], None]) -> Dask:
    """Return the engine for the options of a command."""
    return Dask(scheduler, workers, tell)


def _local(
    distributed: Any, workers: int | None, at_once: int, options: RuntimeOptions, stack: ExitStack
) -> tuple[Any, RuntimeOptions]:
    """Start a scheduler and workers on this machine, which share its cores and memory."""
    count, own = shared(workers, options)
    limit = own.max_memory_bytes
    cluster = stack.enter_context(
        distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=at_once,
            memory_limit=0 if limit is None else int(limit * MARGIN),
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
        )
    )
    return stack.enter_context(distributed.Client(cluster)), own


def _connected(distributed: Any, address: str) -> Any:
    try:
        client = distributed.Client(address, timeout=PATIENCE_S)
        client.wait_for_workers(1, timeout=PATIENCE_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise BatchError(
            f"{address}: expected a scheduler of Dask with a worker, got none in {PATIENCE_S} s; start `dask "
            "scheduler` and `dask worker`, or correct --scheduler"
        ) from error
    return client


def _results(distributed: Any, client: Any, setup: Setup, cases: Sequence[Job | UnplannedCase]) -> Iterator[CaseResult]:
    """Yield the results; the scheduler never knows more than `AHEAD` cases beyond the threads of its workers.

    Raises:
        BatchError: the scheduler was lost.
    """
    coming, running = iter(cases), {}
    ended = distributed.as_completed()

    def submit(count: int) -> None:
        for case in islice(coming, count):
            future = client.submit(_on_worker, setup, absolute(case), pure=False, retries=RETRIES)
            running[future.key] = case
            ended.add(future)

    submit(AHEAD + sum(client.nthreads().values()))
    for number, future in enumerate(ended):
        submit(1)
        case = running.pop(future.key)
        try:
            answer = future.result()
        except (concurrent.futures.CancelledError, OSError) as error:
            raise BatchError(
                f"the scheduler of Dask was lost: {len(cases) - number} of {len(cases)} cases have no result; start "
                "it and the batch again, finished cases stay"
            ) from error
        except PassingError as error:
            answer = error.args[0]
        except distributed.KilledWorker as error:
            answer = run_task(setup, _fatal(case, error.allowed_failures))
        yield answer.unpacked()


def _on_worker(setup: Setup, case: Job | UnplannedCase) -> Answer:
    """Run a case on a worker with the cores and the memory that the worker has."""
    from distributed import get_worker

    worker = get_worker()
    if isinstance(worker.name, int):  # a process of this machine, numbered from 0
        pin(worker.name, (setup.options.threads or 1) * worker.state.nthreads)
    held = worker.memory_manager.memory_limit
    limits = [size for size in (setup.options.max_memory_bytes, held and int(held / MARGIN)) if size]
    return run_task(replace(setup, options=replace(setup.options, max_memory_bytes=min(limits, default=None))), case)


def _fatal(case: Job | UnplannedCase, deaths: int) -> UnplannedCase:
    error = BrainEdgeError(
        f"the worker died {deaths + 1} times while it ran this case; give it more memory, or leave the case out"
    )
    return UnplannedCase(case.case, case.inputs, error)
