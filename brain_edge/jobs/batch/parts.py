"""Parts of the summary: the rows of one shard, written by the shard when it ends, and merged on demand.

A row carries the stamp of the record that it was made from. A row counts if the record on disk has this stamp; any
other record is read. So the summary is that of the records, whatever a killed shard has left out, however often the
number of shards has changed, and whatever a clock has shown. A part only saves reading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from brain_edge.errors import InputError
from brain_edge.jobs.batch.row import SummaryRow, row_of
from brain_edge.jobs.record import RECORD_SUFFIX, CaseStatus, read_case_record
from brain_edge.jobs.records import record_entries
from brain_edge.machine.atomic import atomic_file
from brain_edge.machine.json import decode_json_lines
from brain_edge.machine.stamp import Stamp, stamp_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from brain_edge.jobs.batch.books import Books
    from brain_edge.jobs.batch.case import CaseResult
    from brain_edge.jobs.batch.options import Batch


class PartRow(msgspec.Struct, frozen=True, kw_only=True):
    """Row of one case.

    Attributes:
        record: record of the case, relative to the output folder, with "/".
        stamp: stamp of the record.
        row: row of the summary.
    """

    record: str
    stamp: Stamp
    row: SummaryRow


def part_row(result: CaseResult, batch: Batch) -> PartRow | None:
    """Return the row of an ended case; None if its record is not on disk."""
    if result.stamp is None:
        return None
    folder = batch.layout.folder(result.case)
    path = f"{folder}/{result.case}{RECORD_SUFFIX}" if folder else f"{result.case}{RECORD_SUFFIX}"
    return PartRow(record=path, stamp=result.stamp, row=row_of(result.record, folder))


def write_part(path: Path, rows: Iterable[PartRow], staging: Path) -> None:
    """Write the part of a shard, completely or not at all.

    Raises:
        OutputError: the part cannot be written.
    """
    with atomic_file(path, staging) as partial:
        partial.write_bytes(msgspec.json.Encoder().encode_lines(rows))


def read_parts(books: Books) -> dict[str, PartRow]:
    """Return the rows of all parts by their record; a damaged part is left out.

    Of two parts that tell of one record, one is taken; if it is the older one, the record is read.
    """
    rows: dict[str, PartRow] = {}
    for path in sorted(books.parts.glob("*.jsonl")) if books.parts.is_dir() else ():
        rows.update((row.record, row) for row in _rows(path))
    return rows


def collect(books: Books, rows: Iterable[PartRow] = ()) -> list[PartRow]:
    """Return a row for each ended case of a folder, sorted by case name.

    Args:
        books: bookkeeping of the folder.
        rows: rows of this process, which are in no part yet.

    Raises:
        InputError: a folder or a record cannot be read.
    """
    known = read_parts(books) | {row.record: row for row in rows}
    found = (_current(books.folder, path, entry, known) for path, entry in record_entries(books.folder))
    return sorted((row for row in found if row is not None), key=lambda row: row.row.case)


def _current(folder: Path, path: str, entry: os.DirEntry[str], known: Mapping[str, PartRow]) -> PartRow | None:
    """Return the row of a record now; None if it is gone, damaged, or tells of a case that has not ended."""
    try:
        stamp = stamp_of(entry)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{folder / path}: the record cannot be examined ({error.strerror}); run again") from error
    row = known.get(path)
    if row is not None and row.stamp == stamp:
        return row
    record = read_case_record(folder / path)
    if record is None or record.status is CaseStatus.WRITING:
        return None
    return PartRow(record=path, stamp=stamp, row=row_of(record, path.rpartition("/")[0]))


def _rows(path: Path) -> list[PartRow]:
    try:
        return decode_json_lines(path.read_bytes(), PartRow)
    except (FileNotFoundError, msgspec.DecodeError):
        return []
    except OSError as error:
        raise InputError(
            f"{path}: this part of the summary cannot be read ({error.strerror}); check the share, and run again"
        ) from error
