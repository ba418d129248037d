"""Summary of a batch, merged from the parts of its shards and the records of its cases."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.jobs.batch.books import Books
from brain_edge.jobs.batch.lock import SUMMARY_GATE, gate
from brain_edge.jobs.batch.parts import collect, write_part
from brain_edge.jobs.batch.row import SummaryRow, as_tsv
from brain_edge.jobs.batch.shard import Shard
from brain_edge.jobs.record import CaseStatus
from brain_edge.machine.atomic import atomic_file, remove_leftovers

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from brain_edge.jobs.batch.parts import PartRow


class Form(StrEnum):
    """File format of a summary."""

    TSV = "tsv"
    """Table for a reader and a spreadsheet."""
    JSON = "json"
    """All rows with counts, for a program."""
    PARQUET = "parquet"
    """Typed columns, for a data frame; needs the extra `parquet`."""


USUAL: Final = (Form.TSV, Form.JSON)
"""Formats that every batch of a single process writes."""


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


def summarize(rows: Sequence[SummaryRow]) -> BatchSummary:
    """Summarize the cases."""
    digests = {row.digest for row in rows}
    done = sum(row.status is CaseStatus.DONE for row in rows)
    return BatchSummary(
        digest=digests.pop() if len(digests) == 1 else None,
        cases=len(rows),
        done=done,
        failed=len(rows) - done,
        rows=list(rows),
    )


def write_summary(folder: Path, forms: Collection[Form] = USUAL) -> BatchSummary:
    """Write `summary.tsv`, `summary.json` and `summary.parquet` of a folder, each completely or not at all.

    Shards may run meanwhile: the summary holds the cases that have ended.

    Raises:
        InputError: a record cannot be read.
        OutputError: a file cannot be written.
        MissingExtraError: Parquet is asked for, and pyarrow is not installed.
    """
    books = Books(folder)
    books.open()
    return _write(books, collect(books), forms)


def close_books(books: Books, rows: Sequence[PartRow], staging: Path) -> None:
    """Write the summary at the end of a batch in one part, and replace all parts by one.

    No shard of another division runs meanwhile.

    Args:
        books: bookkeeping of the folder.
        rows: rows of the cases of this batch.
        staging: folder of the files that are not finished.

    Raises:
        InputError: a record of an earlier batch cannot be read.
        OutputError: a file cannot be written.
    """
    own, everything = books.part(Shard()), collect(books, rows)
    write_part(own, everything, staging)
    for part in books.parts.iterdir():
        if part != own:
            part.unlink()
    _write(books, everything, USUAL)


def _write(books: Books, rows: Sequence[PartRow], forms: Collection[Form]) -> BatchSummary:
    summary = summarize([row.row for row in rows])
    paths = {form: books.folder / f"summary.{form}" for form in forms}
    with gate(books, SUMMARY_GATE):
        remove_leftovers([books.partial / path.name for path in paths.values()], alone=True)
        for form, path in paths.items():
            with atomic_file(path, books.partial) as partial:
                _WRITERS[form](summary, partial)
    return summary


def _write_tsv(summary: BatchSummary, path: Path) -> None:
    path.write_text(as_tsv(summary.rows), encoding="utf-8", newline="\n")


def _write_json(summary: BatchSummary, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2))


def _write_parquet(summary: BatchSummary, path: Path) -> None:
    from brain_edge.jobs.batch.parquet import write_parquet

    write_parquet(summary.rows, path)


_WRITERS: Final = {Form.TSV: _write_tsv, Form.JSON: _write_json, Form.PARQUET: _write_parquet}
