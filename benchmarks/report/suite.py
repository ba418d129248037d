"""The last run of the pytest-benchmark suite on each machine, as a table: for following a change, not for claims."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.harness.cell_record import read_as
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.machine.description import Machine

from .formatting import mib, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

COLUMNS: Final = ("benchmark", "precision", "rounds", "median", "middle half", "peak memory")


class SuiteStats(msgspec.Struct, frozen=True, kw_only=True):
    """Times of one benchmark, s; quartiles as pytest-benchmark takes them."""

    rounds: int
    median: float
    q1: float
    q3: float


class SuiteFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions of one benchmark: `extra_info` of its record."""

    isa: str
    threads: int
    precision: str
    peak_rss_bytes: float | None = None


class SuiteBenchmark(msgspec.Struct, frozen=True, kw_only=True):
    """One benchmark; its name has its parameters in brackets."""

    name: str
    stats: SuiteStats
    extra_info: SuiteFacts


class SuiteCommit(msgspec.Struct, frozen=True, kw_only=True):
    """Commit that was timed."""

    id: str
    dirty: bool


class SuiteRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the suite: `…-suite.json`, of which the page needs this much."""

    datetime: datetime
    commit_info: SuiteCommit
    machine_info: Machine
    benchmarks: tuple[SuiteBenchmark, ...]


def read_suites(where: Path) -> tuple[SuiteRun, ...]:
    """Read all runs in a folder and the folders below it, oldest first.

    Raises:
        InputError: a file cannot be read, or is none.
    """
    found = sorted(where.rglob("*-suite.json"), key=lambda path: (path.name, path.parent))
    return tuple(read_as(SuiteRun, path, "a run of the pytest-benchmark suite") for path in found)


def suite_table(runs: Sequence[SuiteRun]) -> Iterator[str]:
    """Show the last run; nothing where there is none.

    Args:
        runs: of one machine, oldest first.
    """
    if not runs:
        return
    last = runs[-1]
    yield "### The suite"
    yield markdown_table(COLUMNS, [_row(each) for each in last.benchmarks])
    threads = sorted({each.extra_info.threads for each in last.benchmarks})
    changed = " and changes" if last.commit_info.dirty else ""
    yield (
        f"`make bench-suite` at commit {last.commit_info.id[:12]}{changed}, {last.datetime:%Y-%m-%d %H:%M} UTC, "
        f"{' and '.join(map(str, threads))} threads, {last.machine_info.isa}. One benchmark after the other and not in "
        "turn: compare a row with the same row of another day, not with its neighbour."
    )


def _row(each: SuiteBenchmark) -> list[str]:
    stats = each.stats
    return [
        each.name.removeprefix("test_").replace("_", " "),
        each.extra_info.precision,
        str(stats.rounds),
        seconds(1000 * stats.median),
        f"{seconds(1000 * stats.q1)} to {seconds(1000 * stats.q3)}",
        mib(each.extra_info.peak_rss_bytes),
    ]
