"""Summary of a batch, merged from the parts of its shards and the records of its cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from brain_edge.jobs.batch.books import Books
from brain_edge.jobs.batch.lock import SUMMARY_GATE, gate
from brain_edge.jobs.batch.parts import collect, write_part
from brain_edge.jobs.batch.row import SummaryRow, as_tsv
from brain_edge.jobs.batch.shard import Shard
from brain_edge.jobs.record import CaseStatus
from brain_edge.machine.atomic import atomic_file, remove_leftovers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from brain_edge.jobs.batch.parts import PartRow

    Writer: TypeAlias = Callable[["BatchSummary", Path], None]
    """Function that writes a summary to a file."""


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


def write_summary(folder: Path, writers: Mapping[str, Writer] | None = None) -> BatchSummary:
    """Write `summary.tsv` and `summary.json` of a folder, each completely or not at all.

    Shards may run meanwhile: the summary holds the cases that have ended.

    Args:
        folder: folder of the records.
        writers: function of each format by the suffix of its file; by default `USUAL`.

    Raises:
        InputError: a record cannot be read.
        OutputError: a file cannot be written.
        MissingExtraError: the library of a format is not installed.
    """
    books = Books(folder)
    books.open()
    return _write(books, collect(books), writers or USUAL)


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


def _write(books: Books, rows: Sequence[PartRow], writers: Mapping[str, Writer]) -> BatchSummary:
    summary = summarize([row.row for row in rows])
    paths = {suffix: books.folder / f"summary.{suffix}" for suffix in writers}
    with gate(books.locks, SUMMARY_GATE):
        remove_leftovers([books.partial / path.name for path in paths.values()], alone=True)
        for suffix, path in paths.items():
            with atomic_file(path, books.partial) as partial:
                writers[suffix](summary, partial)
    return summary


def write_tsv(summary: BatchSummary, path: Path) -> None:
    """Write the table for a reader and a spreadsheet."""
    path.write_text(as_tsv(summary.rows), encoding="utf-8", newline="\n")


def write_json(summary: BatchSummary, path: Path) -> None:
    """Write all rows with counts, for a program."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2))


USUAL: Final[Mapping[str, Writer]] = {"tsv": write_tsv, "json": write_json}
"""Formats that every batch in one part writes, by the suffix of the file."""
