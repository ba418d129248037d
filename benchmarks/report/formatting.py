"""Figures of the benchmark report in words, the same in all its tables. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.harness.cell_record import EntryOutcome

if TYPE_CHECKING:
    from benchmarks.harness.cell_record import CellEntry

NOT_MEASURED: Final = "not measured"
NO_PYTORCH: Final = "no PyTorch to compare with"


def outcome(entry: CellEntry | None) -> str:
    """Why a contender has no figures."""
    return NOT_MEASURED if entry is None or entry.outcome is EntryOutcome.MEASURED else str(entry.outcome)


def seconds(latency_ms: float) -> str:
    """With as many digits as mean something."""
    return f"{latency_ms / 1000:.3f} s" if latency_ms < 10_000 else f"{latency_ms / 1000:.2f} s"


def mib(count: float | None) -> str:
    """Bytes as MiB; a dash where unknown."""
    return "-" if count is None else f"{count / 2**20:.0f} MiB"
