"""Where cells are kept, and which of them need not be measured again. Files are only ever added."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from brain_edge.bench.starts import MINIMUM_STARTS
from brain_edge.machine.description import NATIVE, differences

from .cell_record import TIMED, cell_files, read_cell
from .record import write_result

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from brain_edge.machine.description import Machine

    from .cell_record import Cell, CellRun


def write_cell(run: CellRun, results: Path) -> Path:
    """Write a run to a file of its own."""
    words = re.sub(r"[^a-z0-9]+", "-", run.cell.id.lower())
    return write_result(run, f"cell-{words}", run.started, run.machine, results)


def finished(wanted: Iterable[Cell], results: Path, machine: Machine, repetition: int) -> set[str]:
    """The ids of cells that this very machine has measured in this repetition, as they are declared now, completely.

    What was measured beside other work (`--busy`) is not measured.
    """
    folder = results / machine.name
    by_id = {cell.id: cell for cell in wanted}
    runs = (read_cell(path) for path in cell_files(folder)) if folder.is_dir() else ()
    return {
        run.cell.id
        for run in runs
        if by_id.get(run.cell.id) == run.cell
        and run.repetition == repetition
        and not differences(replace(run.machine, isa=NATIVE), replace(machine, isa=NATIVE))
        and (run.max_disturbance is not None or run.cell.kind not in TIMED)
        and is_complete(run)
    }


def is_complete(run: CellRun) -> bool:
    """Whether nothing failed and enough rounds count."""
    if run.failures:
        return False
    return run.cell.kind not in TIMED or not run.measured or len(run.counted()) >= min(run.cell.rounds, MINIMUM_STARTS)
