"""Network cells: engines in turn on one network, each start of each in a process of its own."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from msgspec.structs import replace

from benchmarks.network_graphs import INPUT, REFUSED
from brain_edge.errors import BrainEdgeError
from brain_edge.image.metrics import dice
from brain_edge.machine.description import this_machine

from .answers import foreground, load
from .cell_record import CellEntry, EntryOutcome
from .cell_setting import environment_of, graphs_of, now, run_of
from .engines import ENGINES, why_engine_not_available
from .start import NetworkStart
from .trained import TRAINED

if TYPE_CHECKING:
    from .cell_record import Cell, CellRun
    from .cell_setting import MatrixSetting

PASSES: Final = 3
"""Timed in each start, after the first answer: the start is the unit, and more passes tell nothing of the next one."""
MINIMUM_DICE: Final = 0.999
"""Of the foreground of a trained network in f32 with the first contender's; below it nothing is timed."""


def measure_network(cell: Cell, setting: MatrixSetting) -> CellRun:
    """Start every engine once, compare its answer with the first one's, and start them in turn until enough count."""
    started = now()
    folder = graphs_of(cell, setting)
    entries: dict[str, CellEntry] = {}
    starts: dict[str, NetworkStart] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number, name in enumerate(cell.contenders):
            target = Path(scratch, f"{number}.npy")
            start = NetworkStart(
                name=name,
                subject=cell.subject,
                folder=folder,
                target=target,
                threads=cell.threads,
                environment=environment_of(cell),
            )
            entry = _started(cell, start, setting)
            if entry.outcome is EntryOutcome.MEASURED:
                entry = _checked(entry, start, starts.get(cell.contenders[0], start))
            entries[name] = entry
            if entry.outcome is EntryOutcome.MEASURED:
                starts[name] = start
        if cell.contenders[0] in starts:
            runs = {name: partial(start.run, PASSES) for name, start in starts.items()}
            entries = setting.sampled(cell, entries, runs)
    shape = np.load(folder / INPUT, mmap_mode="r").shape
    return run_of(cell, setting, started, tuple(entries.values()), image=shape)


def _started(cell: Cell, start: NetworkStart, setting: MatrixSetting) -> CellEntry:
    """The entry of an engine whose answer is there now, or why it is not."""
    engine = ENGINES[start.name]
    size = _size(start.folder, engine.graph)
    entry = CellEntry(name=start.name, precision=engine.words, inputs=engine.streams, size_bytes=size)
    missing = why_engine_not_available(engine, cell.isa, this_machine().flags)
    if missing:
        return replace(entry, outcome=EntryOutcome.NOT_AVAILABLE, why=missing)
    refused = start.folder / f"{engine.graph}{REFUSED}"
    if refused.exists():
        why = f"{engine.graph} could not be made: {refused.read_text(encoding='utf-8')}"
        return replace(entry, outcome=_refused(cell, start), why=why)
    setting.report(f"{cell.id}: checking {start.name}")
    try:
        start.run(1)
    except BrainEdgeError as error:
        return replace(entry, outcome=_refused(cell, start), why=str(error))
    return entry


def _size(folder: Path, graph: str | None) -> int | None:
    """Bytes of a graph with its weights; None where an engine has no file, or the file could not be made."""
    files = (
        [] if graph is None else [folder / graph, *([folder / graph.replace(".xml", ".bin")] * graph.endswith("xml"))]
    )
    found = [path.stat().st_size for path in files if path.exists()]
    return sum(found) or None


def _refused(cell: Cell, start: NetworkStart) -> EntryOutcome:
    return EntryOutcome.NOT_SUPPORTED if start.name in cell.optional else EntryOutcome.FAILED


def _checked(entry: CellEntry, start: NetworkStart, first: NetworkStart) -> CellEntry:
    """The entry with how far its answer is from the first one's; failed where that is too far."""
    got, expected = load(start.target), load(first.target)
    if not np.isfinite(got).all():
        return replace(entry, outcome=EntryOutcome.FAILED, why="its answer is not finite")
    if start.subject in TRAINED:
        return _judged(entry, dice(foreground(got), foreground(expected)) or 0.0, MINIMUM_DICE)
    if got.shape != expected.shape:
        why = f"its answer has the shape {got.shape}, expected {expected.shape}"
        return replace(entry, outcome=EntryOutcome.FAILED, why=why)
    correlation = float(np.corrcoef(got.ravel(), expected.ravel())[0, 1])
    error = float(np.abs(got - expected).max())
    found = replace(entry, correlation=correlation, largest_error=error)
    least = ENGINES[start.name].least_correlation
    if correlation >= least:
        return found
    why = f"its answer correlates with {first.name}'s at {correlation:.6f}, expected {least}; not timed"
    return replace(found, outcome=EntryOutcome.FAILED, why=why)


def _judged(entry: CellEntry, same: float, least: float) -> CellEntry:
    """The entry of a trained network; one that computes in f32 has to agree, of others it is recorded how far."""
    found = replace(entry, dice_first=same)
    if entry.precision != "f32" or same >= least:
        return found
    why = f"its foreground agrees with the first contender's at Dice {same:.4f}, expected {least}; not timed"
    return replace(found, outcome=EntryOutcome.FAILED, why=why)
