"""One process per shard of a folder; a dead one holds nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from brain_edge.errors import OutputError
from brain_edge.jobs.batch import Shard
from brain_edge.jobs.batch.books import Books
from brain_edge.jobs.batch.lock import gate, working

HOLD = """
import sys, time
from pathlib import Path
from brain_edge.jobs.batch import Shard
from brain_edge.jobs.batch.books import Books
from brain_edge.jobs.batch.lock import working
with working(Books(Path(sys.argv[1])), Shard()):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def books(tmp_path) -> Books:
    books = Books(tmp_path)
    books.open()
    return books


def left_in(books) -> list[str]:
    return [path.name for path in books.locks.iterdir()]


def test_a_lock_leaves_nothing(books):
    with working(books, Shard(2, 3)):
        assert left_in(books) == ["2-of-3.lock"]
    assert left_in(books) == []


@pytest.mark.parametrize(
    ("one", "other", "is_free"),
    [
        (Shard(1, 1), Shard(1, 1), False),
        (Shard(1, 2), Shard(1, 2), False),
        (Shard(1, 2), Shard(2, 2), True),
        (Shard(1, 2), Shard(2, 3), False),
        (Shard(1, 1), Shard(1, 2), False),
    ],
)
def test_only_shards_of_one_division_go_together(books, one, other, is_free):
    with working(books, one):
        if is_free:
            with working(books, other):
                pass
        else:
            words = rf"works in this folder \(shard {one}\); give --wait"
            with pytest.raises(OutputError, match=words), working(books, other):
                pass
    assert left_in(books) == []


def test_the_lock_of_a_killed_process_is_free(books):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(books.folder)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match=f"process {holder.pid} on "), working(books, Shard()):
            pass
        holder.kill()
    assert left_in(books) == ["1-of-1.lock"]
    with working(books, Shard(1, 2)):
        assert left_in(books) == ["1-of-2.lock"]


def test_whoever_waits_gets_the_lock_when_it_is_free(books):
    order = []

    def wait() -> None:
        with working(books, Shard(), wait=True):
            order.append("second")

    with working(books, Shard()):
        second = threading.Thread(target=wait)
        second.start()
        time.sleep(0.2)
        order.append("first")
    second.join(timeout=30)
    assert order == ["first", "second"]


def test_of_many_who_start_together_one_gets_it(books):
    """The gate: looking and locking are one step."""
    start, got = threading.Barrier(16), []

    def try_it() -> None:
        start.wait()
        try:
            with working(books, Shard()):
                got.append(True)
                time.sleep(1)
        except OutputError:
            got.append(False)

    threads = [threading.Thread(target=try_it) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(got) == [False] * 15 + [True]
    assert left_in(books) == []


def test_the_gate_lets_one_through_at_a_time(books):
    inside, most = [0], [0]

    def go() -> None:
        for _ in range(20):
            with gate(books.locks):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert most == [1]
    assert left_in(books) == []


def test_a_lock_whose_owner_cannot_be_read_is_still_a_lock(books):
    with working(books, Shard()):
        (books.locks / "1-of-1.lock").write_bytes(b" \xff\xfe")
        refused = pytest.raises(OutputError, match=r"\\xff\\xfe works in this folder \(shard 1/1\)")
        with refused, working(books, Shard()):
            pass
