"""Run many cases, a few at once.

Half of the work of a case uses one core: reading, resampling, components, compression. Three cases in progress keep
the cores busy: one before the network, one in it, one after it. They share the compiled graphs. Each case runs with
the same threads as a single case, so its mask has the same bytes. Memory holds one head per case in progress,
however long the batch is.
"""

from __future__ import annotations

import queue
from contextlib import contextmanager
from functools import cache
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BatchError, BrainEdgeError, UsageError
from brain_edge.jobs.batch.books import Books
from brain_edge.jobs.batch.case import CaseResult, CaseRunner, Stopped, is_disk_full
from brain_edge.jobs.batch.case_list import MOST_NAME_BYTES, is_case_name
from brain_edge.jobs.batch.first_pass import FirstAlone
from brain_edge.jobs.batch.lock import gate, working
from brain_edge.jobs.batch.parts import part_row, write_part
from brain_edge.jobs.batch.planning import UnplannedCase, require_distinct
from brain_edge.jobs.batch.resume import MadeBy
from brain_edge.jobs.batch.summary import close_books
from brain_edge.machine.atomic import remove_leftovers
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.options import RuntimeOptions
from brain_edge.runtime.session import require_start

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from brain_edge.engine.segmenter import WarmSegmenter
    from brain_edge.jobs.batch.options import Batch
    from brain_edge.jobs.batch.parts import PartRow
    from brain_edge.jobs.case import Job
    from brain_edge.package import ModelPackage

AT_ONCE: Final = 3
"""Cases in progress at once; each needs the memory of one head. `benchmarks/folder.py --at-once N` compares."""


def run_batch(
    package: ModelPackage,
    cases: Sequence[Job | UnplannedCase],
    batch: Batch,
    options: RuntimeOptions | None = None,
) -> Generator[CaseResult]:
    """Run each unfinished case of the shard, and yield the result of each case when it ends.

    The model is loaded for the first case that has to run. At the end, also after an interrupt, a batch in one part
    writes the summary. A shard writes only its part of the summary (`brain_edge.jobs.batch.summary.write_summary`
    merges the parts).
    Close the iterator (`contextlib.closing`) if it is not read to its end.

    Args:
        package: package of the model.
        cases: cases of all shards, each with a unique name.
        batch: options of the batch, with the folder of the records.
        options: options of the runtime.

    Raises:
        OutputError: the folder of the records cannot be written to, or another process works in it.
        BatchError: the disk is full; the remaining cases were not tried.
        UsageError: two cases have one name.
    """
    _require_names(cases)
    require_distinct(cases, batch)
    books = Books(batch.records)
    books.open()
    own = batch.share(cases)
    given = options or RuntimeOptions()
    engine = batch.engine or threads_of_this_process
    with working(books, batch.shard, wait=batch.wait), books.staged(batch.shard) as staging:
        with gate(books.locks):
            books.keep_layout(batch.layout)
        _clean_up([path for case in own for path in _targets(case, batch)], staging)
        running = engine(package, own, batch, given, staging)
        with _summarized(batch, staging) as rows, running as results:
            for result in _until_full(results, len(own)):
                if (row := part_row(result, batch)) is not None:
                    rows.append(row)
                yield result


def in_order(results: Sequence[CaseResult], cases: Sequence[Job | UnplannedCase]) -> tuple[CaseResult, ...]:
    """Return results in the order of their cases."""
    place = {case.case: number for number, case in enumerate(cases)}
    return tuple(sorted(results, key=lambda result: place[result.case]))


def _clean_up(targets: Sequence[Path], staging: Path) -> None:
    """Remove partial files of killed runs beside targets on other disks, where no file of this disk can be renamed."""
    disk, folders = staging.stat().st_dev, {path.parent for path in targets}
    elsewhere = {folder for folder in folders if folder.is_dir() and folder.stat().st_dev != disk}
    remove_leftovers([path for path in targets if path.parent in elsewhere], alone=True)


@contextmanager
def _summarized(batch: Batch, staging: Path) -> Iterator[list[PartRow]]:
    """Yield the list of the rows of ended cases, and write them at the end, also after an error, which is raised again.

    Only a batch in one part also writes the summary of the whole folder.
    """
    rows: list[PartRow] = []
    try:
        yield rows
    except BaseException as error:
        try:
            _write_books(batch, rows, staging)
        except BrainEdgeError as second:
            error.add_note(f"the summary also failed: {second}")
        raise
    _write_books(batch, rows, staging)


def _write_books(batch: Batch, rows: Sequence[PartRow], staging: Path) -> None:
    books = Books(batch.records)
    if batch.is_whole:
        close_books(books, rows, staging)
    else:
        write_part(books.part(batch.shard), rows, staging)


def _until_full(results: Iterator[CaseResult], count: int) -> Iterator[CaseResult]:
    """Yield the results until the disk is full.

    Raises:
        BatchError: the disk is full.
    """
    for number, result in enumerate(results, start=1):
        yield result
        if is_disk_full(result.error):
            raise BatchError(
                f"the disk or quota is full: {count - number} of {count} cases were not tried; free space and run the "
                "batch again, finished cases stay"
            )


class _Lanes:
    """Threads that each run one case after another."""

    def __init__(
        self,
        make_runner: Callable[[Callable[[], None]], Callable[[Job | UnplannedCase], CaseResult]],
        cases: Sequence[Job | UnplannedCase],
    ) -> None:
        self._make_runner = make_runner
        self._waiting: queue.SimpleQueue[Job | UnplannedCase] = queue.SimpleQueue()
        for case in cases:
            self._waiting.put(case)
        self._count = len(cases)
        self._results: queue.SimpleQueue[CaseResult | BaseException] = queue.SimpleQueue()
        self._stop = Event()

    def work(self) -> None:
        """Run waiting cases until none is left; an error outside a case ends the batch."""
        try:
            runner = self._make_runner(self._require_going)
            while not self._stop.is_set():
                self._results.put(runner(self._waiting.get_nowait()))
        except (Stopped, queue.Empty):
            return
        except BaseException as error:  # noqa: BLE001 - raised where the results are read
            self._results.put(error)

    def results(self) -> Iterator[CaseResult]:
        """Yield the result of each case when it ends."""
        for _ in range(self._count):
            result = self._next()
            if isinstance(result, BaseException):
                raise result
            yield result

    def stop(self) -> None:
        """Let each lane end at the next moment without a partial output."""
        self._stop.set()

    def _next(self) -> CaseResult | BaseException:
        while True:
            try:
                return self._results.get(timeout=1)  # Windows handles Ctrl-C only between two waits
            except queue.Empty:
                continue

    def _require_going(self) -> None:
        if self._stop.is_set():
            raise Stopped


@contextmanager
def threads_of_this_process(
    package: ModelPackage,
    cases: Sequence[Job | UnplannedCase],
    batch: Batch,
    options: RuntimeOptions,
    staging: Path,
    wrap: Callable[[CaseRunner], Callable[[Job | UnplannedCase], CaseResult]] = lambda runner: runner,
) -> Iterator[Iterator[CaseResult]]:
    """Yield the results of cases in lanes of this process; all lanes have ended when the block is left.

    Args:
        package: package of the model.
        cases: cases to run.
        batch: options of the batch, with the number of lanes.
        options: options of the runtime.
        staging: folder of the files that are not finished.
        wrap: function that replaces the runner of a lane.
    """
    at_once = batch.at_once or (1 if (options.threads or default_threads()) == 1 else AT_ONCE)
    count = min(at_once, len(cases))
    require_start(options, count)
    first, made_by = FirstAlone(options.max_memory_bytes), MadeBy.of(package, options)

    @cache  # called in turn: the second case calls it after the first has passed the network
    def warm() -> WarmSegmenter:
        return Segmenter.open(package, options)

    def make_runner(require_going: Callable[[], None]) -> Callable[[Job | UnplannedCase], CaseResult]:
        return wrap(CaseRunner(package, warm, batch, staging, require_going, first, made_by))

    lanes = _Lanes(make_runner, cases)
    threads = [Thread(target=lanes.work, name=f"brain-edge-case-{number}") for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield lanes.results()
    finally:
        lanes.stop()
        for thread in threads:
            thread.join()


def _targets(case: Job | UnplannedCase, batch: Batch) -> Iterator[Path]:
    yield batch.record(case.case)
    if not isinstance(case, UnplannedCase):
        yield from case.outputs.paths()


def _require_names(cases: Sequence[Job | UnplannedCase]) -> None:
    for case in cases:
        if not is_case_name(case.case):
            raise UsageError(
                f"expected a case name that can be part of a file name, got {case.case[:MOST_NAME_BYTES]!r}; rename it "
                f"(no slash, at most {MOST_NAME_BYTES} bytes)"
            )
