"""Network cells: engines in turn on one network, each ready in a process of its own."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from brain_edge.errors import BrainEdgeError
from brain_edge.machine.description import this_machine

from .cell_record import CellEntry, EntryOutcome
from .cell_setting import environment_of, graphs_of, now, run_of
from .engines import ENGINES, Library, why_engine_not_available
from .server import Server
from .zoo import ARCHITECTURES, phantom_input

if TYPE_CHECKING:
    from .cell_record import Cell, CellRun
    from .cell_setting import MatrixSetting


def measure_network(cell: Cell, setting: MatrixSetting) -> CellRun:
    """Open all engines, compare their answers with the first one's, and run them in turn until enough rounds count."""
    started = now()
    graphs = graphs_of(cell.subject, setting.report)
    entries: dict[str, CellEntry] = {}
    servers: list[Server] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        source = Path(folder, "input.npy")
        np.save(source, phantom_input(ARCHITECTURES[cell.subject]))
        for number, name in enumerate(cell.contenders):
            entry, server = _opened(cell, name, source, Path(folder, f"output-{number}.npy"), graphs, stack, setting)
            if server is not None:
                entry = _checked(entry, server, servers[0] if servers else server)
            entries[name] = entry
            if server is not None and entry.outcome is EntryOutcome.MEASURED:
                servers.append(server)
        if entries[cell.contenders[0]].outcome is EntryOutcome.MEASURED:
            entries = setting.sampled(cell, entries, {server.name: server.run for server in servers})
    return run_of(cell, setting, started, tuple(entries.values()), image=ARCHITECTURES[cell.subject].shape)


def _opened(
    cell: Cell, name: str, source: Path, target: Path, graphs: Path, stack: ExitStack, setting: MatrixSetting
) -> tuple[CellEntry, Server | None]:
    engine = ENGINES[name]
    entry = CellEntry(name=name, precision=engine.words, inputs=engine.streams)
    missing = why_engine_not_available(engine, cell.isa, this_machine().flags)
    if missing:
        return replace(entry, outcome=EntryOutcome.NOT_AVAILABLE, why=missing), None
    refused = graphs / "f32.onnx.refused"
    if engine.library is Library.ONNX_RUNTIME and refused.exists():
        why = f"PyTorch's exporter to ONNX refused: {refused.read_text(encoding='utf-8')}"
        return replace(entry, outcome=EntryOutcome.NOT_SUPPORTED, why=why), None
    setting.report(f"{cell.id}: opening {name}")
    try:
        server = Server(
            name,
            cell.subject,
            source,
            target,
            graphs=graphs,
            threads=cell.threads,
            environment=environment_of(cell),
        )
        return entry, stack.enter_context(server)
    except BrainEdgeError as error:
        outcome = EntryOutcome.NOT_SUPPORTED if name in cell.optional else EntryOutcome.FAILED
        return replace(entry, outcome=outcome, why=str(error)), None


def _checked(entry: CellEntry, server: Server, first: Server) -> CellEntry:
    """The entry with how far its answer is from the first one's; failed where that is too far."""
    got, expected = np.load(server.target), np.load(first.target)
    if got.shape != expected.shape or not np.isfinite(got).all():
        why = f"its answer has the shape {got.shape}, expected {expected.shape} and finite numbers"
        return replace(entry, outcome=EntryOutcome.FAILED, why=why)
    correlation = float(np.corrcoef(got.ravel(), expected.ravel())[0, 1])
    error = float(np.abs(got - expected).max())
    least = ENGINES[server.name].least_correlation
    if not correlation >= least:
        why = f"its answer correlates with {first.name}'s at {correlation:.6f}, expected {least}; not timed"
        return replace(entry, outcome=EntryOutcome.FAILED, why=why, correlation=correlation, largest_error=error)
    return replace(entry, correlation=correlation, largest_error=error)
