"""The bookkeeping of a batch lies apart from its results, and a killed process leaves nothing that stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brain_edge.errors import UsageError
from brain_edge.jobs.batch import Shard
from brain_edge.jobs.batch.books import BOOKS, Books
from brain_edge.jobs.batch.shard import in_file_name, shard_of_file
from brain_edge.jobs.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def books(tmp_path: Path) -> Books:
    books = Books(tmp_path / "out")
    books.open()
    return books


def test_all_of_it_lies_in_one_hidden_folder(books: Books):
    assert [path.name for path in books.folder.iterdir()] == [BOOKS]
    assert {path.parent for path in (books.locks, books.partial, books.parts)} == {books.folder / BOOKS}
    assert books.part(Shard(3, 8)).name == "3-of-8.jsonl"


@pytest.mark.parametrize("layout", list(Layout))
def test_the_layout_of_the_first_run_stays(books: Books, layout: Layout):
    (other,) = set(Layout) - {layout}
    for _ in range(2):
        books.keep_layout(layout)
        with pytest.raises(
            UsageError, match=f"have the layout {layout}, and this run has {other}; give --layout {layout}"
        ):
            books.keep_layout(other)


@pytest.mark.parametrize("content", [b"", b"flqt", b"flat\n", b"fl\xe1t"])
def test_a_damaged_layout_is_refused(books: Books, content: bytes):
    books.keep_layout(Layout.FLAT)
    (books.folder / BOOKS / "layout").write_bytes(content)
    with pytest.raises(UsageError, match="expected the layout of the results in this folder, flat or folders, got '"):
        books.keep_layout(Layout.FLAT)


def test_results_of_an_earlier_version_are_flat(books: Books):
    (books.folder / "summary.json").touch()
    with pytest.raises(UsageError, match="have the layout flat"):
        books.keep_layout(Layout.FOLDERS)


def test_unfinished_files_of_killed_shards_go_and_those_of_running_ones_stay(books: Books):
    """Another shard of the same division may run; one of another division cannot."""
    shards = [Shard(1, 4), Shard(2, 4), Shard(1, 1), Shard(2, 3)]
    for shard in shards:
        books.staging(shard).mkdir()
        (books.staging(shard) / ".partial-0123abcd-a_mask.nii.gz").write_bytes(b"half")
    with books.staged(Shard(1, 4)) as staging:
        assert staging == books.staging(Shard(1, 4))
        assert list(staging.iterdir()) == []
    assert [path.name for path in books.partial.iterdir()] == ["2-of-4"]


@pytest.mark.parametrize("shard", [Shard(), Shard(3, 8), Shard(1000, 1000)])
def test_a_shard_is_known_by_the_names_of_its_files(shard: Shard):
    for end in ("", ".lock", ".jsonl"):
        assert shard_of_file(f"{in_file_name(shard)}{end}") == shard


@pytest.mark.parametrize("name", ["gate.lock", "0-of-3.lock", "4-of-3.lock", "1-of-3.lock.old", "summary.tsv"])
def test_other_files_belong_to_no_shard(name: str):
    assert shard_of_file(name) is None
