"""Roofline cells: what a network computes and moves, and what this machine reaches at best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from benchmarks import program
from brain_edge.errors import BrainEdgeError
from brain_edge.machine.description import this_machine

from .cell_record import CellEntry, EntryOutcome, NumberSum
from .cell_setting import environment_of, graphs_of, now, run_of
from .engines import ENGINES, why_engine_not_available
from .measure import output_of
from .start import LONGEST_REASON
from .zoo import ARCHITECTURES

if TYPE_CHECKING:
    from .cell_record import Cell, CellRun
    from .cell_setting import MatrixSetting


class _Profiled(msgspec.Struct):
    """What `network_roofline` prints."""

    sums: dict[str, tuple[NumberSum, ...]]
    peaks: dict[str, float]
    bytes_per_s: float


def measure_roofline(cell: Cell, setting: MatrixSetting) -> CellRun:
    """Profile the engines that this CPU has, in one process."""
    started = now()
    entries = {name: _entry(cell, name) for name in cell.contenders}
    wanted = [name for name, entry in entries.items() if entry.outcome is EntryOutcome.MEASURED]
    graphs = graphs_of(cell, setting)
    setting.report(f"{cell.id}: layer by layer")
    engines = [part for name in wanted for part in ("--engine", name)]
    command = program("network_roofline", cell.subject, "--graphs", graphs, "--threads", cell.threads, *engines)
    try:
        found = msgspec.json.decode(output_of(command, "", environment_of(cell)), type=_Profiled)
    except BrainEdgeError as error:
        why = str(error)[-LONGEST_REASON:]
        entries |= {name: replace(entries[name], outcome=EntryOutcome.FAILED, why=why) for name in wanted}
        return run_of(cell, setting, started, tuple(entries.values()))
    entries |= {name: replace(entries[name], sums=found.sums[name]) for name in wanted}
    return run_of(
        cell,
        setting,
        started,
        tuple(entries.values()),
        image=ARCHITECTURES[cell.subject].shape,
        peaks=found.peaks,
        bytes_per_s=found.bytes_per_s,
    )


def _entry(cell: Cell, name: str) -> CellEntry:
    missing = why_engine_not_available(ENGINES[name], cell.isa, this_machine().flags)
    outcome = EntryOutcome.NOT_AVAILABLE if missing else EntryOutcome.MEASURED
    return CellEntry(name=name, precision=ENGINES[name].words, outcome=outcome, why=missing)
