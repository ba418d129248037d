"""Parts of the summary save reading, and never change what the summary says."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from brain_edge.jobs.batch import Batch, Shard
from brain_edge.jobs.batch.books import Books
from brain_edge.jobs.batch.case import CaseOutcome, CaseResult
from brain_edge.jobs.batch.parts import PartRow, collect, part_row, write_part
from brain_edge.jobs.batch.summary import close_books
from brain_edge.jobs.layout import Layout
from brain_edge.jobs.record import CaseRecord, CaseStatus, FileRecord, write_case_record
from brain_edge.machine.stamp import stamp_of

if TYPE_CHECKING:
    from pathlib import Path

CASES = tuple(f"sub-{number}_T1w" for number in range(12))


@pytest.fixture
def books(tmp_path: Path) -> Books:
    books = Books(tmp_path)
    books.open()
    return books


def ended(folder: Path, case: str, **fields: Any) -> CaseResult:
    """A case whose record is on disk."""
    known: dict[str, Any] = {
        "case": case,
        "status": CaseStatus.FAILED,
        "inputs": {},
        "series": {},
        "digest": "ab" * 32,
        "border_mm": 0.0,
        "strict": False,
        "outputs": {"mask": FileRecord(path=f"{case}_mask.nii.gz", size_bytes=1, sha256=None)},
        "run": None,
        "measures": {},
        "error": None,
        "started": datetime.now(UTC),
        "finished": datetime.now(UTC),
        "rss_bytes": None,
        "versions": {},
    }
    record = CaseRecord(**(known | fields))
    path = Batch(records=folder, layout=Layout.FOLDERS).record(case)
    path.parent.mkdir(exist_ok=True)
    write_case_record(record, path)
    return CaseResult(case, {}, CaseOutcome.FAILED, record, stamp=stamp_of(path))


def run(books: Books, shard: Shard, **fields: Any) -> None:
    """A shard, from its start to its end."""
    batch = Batch(records=books.folder, layout=Layout.FOLDERS, shard=shard)
    rows = [part_row(ended(books.folder, case, **fields), batch) for case in CASES if shard.holds(case)]
    write_part(books.part(shard), [row for row in rows if row is not None], books.partial)


def told(rows: list[PartRow]) -> dict[str, str]:
    return {row.row.case: row.row.digest[:2] for row in rows}


def from_records(books: Books) -> list[PartRow]:
    """What the records alone say."""
    for part in books.parts.iterdir():
        part.unlink()
    return collect(books)


def test_a_row_with_the_stamp_of_its_record_is_taken_and_the_record_not_read(books: Books):
    shard = Shard(1, 2)
    run(books, shard, digest="11" * 32)
    for row in collect(books):
        path = books.folder / row.record
        stamp = path.stat()
        path.write_bytes(b"?" * stamp.st_size)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert told(collect(books)) == {case: "11" for case in CASES if shard.holds(case)}
    assert told(from_records(books)) == {}


def test_the_parts_of_all_shards_make_the_summary_of_the_records(books: Books):
    for number in (1, 2, 3):
        run(books, Shard(number, 3))
    rows = collect(books)
    assert [row.row.case for row in rows] == sorted(CASES)
    assert rows[0].record == "sub-0/sub-0_T1w_record.json"
    assert rows == from_records(books)


def test_a_number_of_shards_that_changes_leaves_no_row_of_an_earlier_run(books: Books):
    """Every case is in a part of the first division, and some are in a part of the second."""
    for number in (1, 2):
        run(books, Shard(number, 2), digest="11" * 32)
    run(books, Shard(2, 3), digest="22" * 32)
    expected = {case: "22" if Shard(2, 3).holds(case) else "11" for case in CASES}
    assert len(set(expected.values())) == 2
    rows = collect(books)
    assert told(rows) == expected
    assert rows == from_records(books)


def test_a_shard_that_was_killed_before_its_part_is_in_the_summary(books: Books):
    run(books, Shard(1, 2))
    books.part(Shard(1, 2)).unlink()
    run(books, Shard(2, 2))
    assert set(told(collect(books))) == set(CASES)


@pytest.mark.parametrize("content", [b"", b"{", b'{"record": 1}\n', b"\xff\n"])
def test_a_damaged_part_is_no_loss(books: Books, content: bytes):
    run(books, Shard())
    rows = collect(books)
    books.part(Shard()).write_bytes(content)
    assert collect(books) == rows


def test_a_case_whose_record_is_gone_or_open_is_not_in_the_summary(books: Books):
    run(books, Shard())
    (books.folder / "sub-3/sub-3_T1w_record.json").unlink()
    ended(books.folder, "sub-4_T1w", status=CaseStatus.WRITING)
    assert set(CASES) - set(told(collect(books))) == {"sub-3_T1w", "sub-4_T1w"}


def test_a_batch_in_one_part_replaces_the_parts_of_all_shards(books: Books):
    for number in (1, 2, 3):
        run(books, Shard(number, 3))
    close_books(books, [], books.partial)
    assert [path.name for path in books.parts.iterdir()] == ["1-of-1.jsonl"]
    lines = books.part(Shard()).read_bytes().splitlines()
    assert [msgspec.json.decode(line)["row"]["case"] for line in lines] == sorted(CASES)
    assert [path.name for path in books.partial.iterdir()] == []
