"""Roofline cells: what a network computes and moves, and what this machine reaches at best."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from brain_edge.bench.matrix.cells import CellEntry, NumberSum, Outcome
from brain_edge.machine.description import this_machine
from harness.cell_setting import environment_of, graphs_of, now, run_of
from harness.engines import ENGINES, why_engine_not_available
from harness.peers import BENCHMARKS
from harness.zoo import ARCHITECTURES

if TYPE_CHECKING:
    from brain_edge.bench.matrix.cells import Cell, CellRun
    from harness.cell_setting import Setting


class _Profiled(msgspec.Struct):
    """What `network_roofline.py` prints."""

    sums: dict[str, tuple[NumberSum, ...]]
    peaks: dict[str, float]
    bytes_per_s: float


def measure_roofline(cell: Cell, setting: Setting) -> CellRun:
    """Profile the engines that this CPU has, in one process."""
    started = now()
    entries = {name: _entry(cell, name) for name in cell.contenders}
    wanted = [name for name, entry in entries.items() if entry.outcome is Outcome.MEASURED]
    graphs = graphs_of(cell.subject, setting.report)
    setting.report(f"{cell.id}: layer by layer")
    engines = [part for name in wanted for part in ("--engine", name)]
    program = [sys.executable, str(BENCHMARKS / "network_roofline.py"), cell.subject, "--graphs", str(graphs)]
    done = subprocess.run(
        [*program, "--threads", str(cell.threads), *engines],
        env=environment_of(cell),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        why = done.stderr.strip()[-300:] or "it said nothing"
        entries |= {name: replace(entries[name], outcome=Outcome.FAILED, why=why) for name in wanted}
        return run_of(cell, setting, started, tuple(entries.values()))
    found = msgspec.json.decode(done.stdout, type=_Profiled)
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
    outcome = Outcome.NOT_AVAILABLE if missing else Outcome.MEASURED
    return CellEntry(name=name, precision=ENGINES[name].words, outcome=outcome, why=missing)
