"""Table of a batch, made from the records of its cases in all shards and runs."""

from __future__ import annotations

import csv
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

import msgspec

from brain_edge.jobs.batch.lock import gate
from brain_edge.jobs.record import CaseStatus
from brain_edge.jobs.records import read_case_records
from brain_edge.machine.atomic import atomic_file, remove_leftovers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from brain_edge.jobs.record import CaseRecord

TABLE: Final = "summary.tsv"
SUMMARY: Final = "summary.json"
NOT_AVAILABLE: Final = "n/a"


class SummaryRow(msgspec.Struct, frozen=True, kw_only=True):
    """Summary of one case.

    Attributes:
        case, status: name and status from the record.
        input: image that gives the grid.
        mask: path relative to the folder of the summary; None for a failed case.
        volumes_ml: volume by label name.
        flags: messages of the flags.
        error: message of the error; None for a finished case.
        elapsed_ms: time of the whole case.
        digest: digest of the package.
    """

    case: str
    status: CaseStatus
    input: str | None
    mask: str | None
    volumes_ml: dict[str, float]
    flags: list[str]
    error: str | None
    elapsed_ms: float | None
    digest: str


class BatchSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Summary of all cases of a folder.

    Attributes:
        digest: digest of the package; None for cases of several packages.
        cases, done, failed: number of cases.
        rows: one row per case, sorted by name.
        format_version: version of the format of this file.
    """

    digest: str | None
    cases: int
    done: int
    failed: int
    rows: list[SummaryRow]
    format_version: int = 1


def summarize(records: Sequence[CaseRecord]) -> BatchSummary:
    """Summarize the cases."""
    digests = {record.digest for record in records}
    done = sum(record.status is CaseStatus.DONE for record in records)
    return BatchSummary(
        digest=digests.pop() if len(digests) == 1 else None,
        cases=len(records),
        done=done,
        failed=len(records) - done,
        rows=[_row(record) for record in records],
    )


def write_summary(folder: Path) -> BatchSummary:
    """Write `summary.tsv` and `summary.json` from all records of a folder, each completely or not at all.

    Raises:
        OutputError: a file cannot be written.
    """
    paths = (folder / TABLE, folder / SUMMARY)
    with gate(folder):  # one shard at a time: the last shard to end sees the records of all
        remove_leftovers(paths, alone=True)
        summary = summarize(read_case_records(folder))
        with atomic_file(paths[0]) as partial:
            partial.write_text(as_tsv(summary.rows), encoding="utf-8", newline="\n")
        with atomic_file(paths[1]) as partial:
            partial.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2))
    return summary


def as_tsv(rows: Iterable[SummaryRow]) -> str:
    """Return a table with a header, one line per case and one column per label in ml; n/a marks a missing value."""
    rows = list(rows)
    labels = list(dict.fromkeys(label for row in rows for label in row.volumes_ml))
    header = ["case", "status", *(f"volume_ml_{label}" for label in labels), "flags", "error", "seconds", "mask"]
    lines: list[list[Any]] = [[*header, "input", "digest"]]
    for row in rows:
        volumes = [f"{row.volumes_ml[label]:.3f}" if label in row.volumes_ml else None for label in labels]
        seconds = None if row.elapsed_ms is None else f"{row.elapsed_ms / 1000:.2f}"
        flags = "; ".join(row.flags)
        lines.append([row.case, row.status, *volumes, flags, row.error, seconds, row.mask, row.input, row.digest])
    table = StringIO()
    csv.writer(table, "excel-tab", lineterminator="\n").writerows([_cell(value) for value in line] for line in lines)
    return table.getvalue()


def _cell(value: Any) -> str:
    """Return a cell of one line and one column that no spreadsheet reads as a formula, whatever the value holds."""
    shown = (sign if sign.isprintable() else " " for sign in str(value or NOT_AVAILABLE))
    text = " ".join("".join(shown).split())
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _row(record: CaseRecord) -> SummaryRow:
    run = record.run
    mask = record.outputs.get("mask")
    return SummaryRow(
        case=record.case,
        status=record.status,
        input=next((file.path for file in record.inputs.values()), None),
        mask=mask.path if mask is not None and run is not None else None,
        volumes_ml=run.volumes_ml if run is not None else {},
        flags=[flag.message for flag in run.flags] if run is not None else [],
        error=record.error.message if record.error is not None else None,
        elapsed_ms=run.elapsed_ms["total"] if run is not None else None,
        digest=record.digest,
    )
