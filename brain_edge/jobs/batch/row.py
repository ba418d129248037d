"""One row of the summary of a batch, and the table of all rows."""

from __future__ import annotations

import csv
import posixpath
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

import msgspec

from brain_edge.jobs.record import CaseStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from brain_edge.jobs.record import CaseRecord

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


def row_of(record: CaseRecord, folder: str = "") -> SummaryRow:
    """Return the row of a record.

    Args:
        record: record whose outputs are relative to its own folder.
        folder: folder of the record, relative to the folder of the batch; empty for the same folder.
    """
    run = record.run
    mask = record.outputs.get("mask")
    return SummaryRow(
        case=record.case,
        status=record.status,
        input=next((file.path for file in record.inputs.values()), None),
        mask=posixpath.normpath(f"{folder or '.'}/{mask.path}") if mask is not None and run is not None else None,
        volumes_ml=run.volumes_ml if run is not None else {},
        flags=[flag.message for flag in run.flags] if run is not None else [],
        error=record.error.message if record.error is not None else None,
        elapsed_ms=run.elapsed_ms["total"] if run is not None else None,
        digest=record.digest,
    )


def labels_of(rows: Iterable[SummaryRow]) -> list[str]:
    """Return the labels of all rows, in order of appearance."""
    return list(dict.fromkeys(label for row in rows for label in row.volumes_ml))


def as_tsv(rows: Sequence[SummaryRow]) -> str:
    """Return a table with a header, one line per case and one column per label in ml; n/a marks a missing value."""
    labels = labels_of(rows)
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
    text = str(value or NOT_AVAILABLE)
    if not text.isprintable():
        text = "".join(sign if sign.isprintable() else " " for sign in text)
    text = " ".join(text.split())
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
