"""Figures of the benchmark report in words, the same in all its tables. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.harness.cell_record import EntryOutcome

if TYPE_CHECKING:
    from benchmarks.harness.cell_record import CellEntry

NOT_MEASURED: Final = "not measured"
NO_PYTORCH: Final = "no PyTorch to compare with"


MOST_WORDS: Final = 160


def outcome(entry: CellEntry | None) -> str:
    """Why a contender has no figures; a peer that cannot run a network says it in its own words."""
    if entry is None or entry.outcome is EntryOutcome.MEASURED:
        return NOT_MEASURED
    return str(entry.outcome) + (f": {short(entry.why)}" if entry.outcome is EntryOutcome.NOT_SUPPORTED else "")


def short(why: str) -> str:
    """The beginning of a reason, in one line that a table can hold."""
    words = " ".join(why.split()).replace("|", "/")
    return words if len(words) <= MOST_WORDS else f"{words[:MOST_WORDS]} ..."


def seconds(latency_ms: float) -> str:
    """With as many digits as mean something."""
    return f"{latency_ms / 1000:.3f} s" if latency_ms < 10_000 else f"{latency_ms / 1000:.2f} s"


def mib(count: float | None) -> str:
    """Bytes as MiB; a dash where unknown."""
    return "-" if count is None else f"{count / 2**20:.0f} MiB"
