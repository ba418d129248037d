"""Locks of a folder: one process per shard; the system releases a lock when its process dies.

A running shard holds `1-of-4.lock` in the folder of the locks. The shards of one division share a folder. The same
shard twice, or shards of different divisions, would run the same cases twice. A process checks the folder and takes its
own lock while it holds the gate, so two processes that start together cannot both find the folder free. It does not try
the other locks of its own division, of which there may be a thousand.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from brain_edge.errors import OutputError
from brain_edge.jobs.batch.shard import in_file_name, shard_of_file
from brain_edge.machine.file_lock import TEXT_AT, acquired, file_lock, remove_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brain_edge.jobs.batch.books import Books
    from brain_edge.jobs.batch.shard import Shard
    from brain_edge.machine.file_lock import Lock

GATE: Final = "gate.lock"
SUMMARY_GATE: Final = "summary.lock"
"""Gate of the summary, which takes longer than a shard should wait for."""
_PATIENCE_S: Final = 0.5


@contextmanager
def working(books: Books, shard: Shard, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a shard in a folder.

    Args:
        books: bookkeeping of the folder, whose folders exist.
        shard: part to run.
        wait: wait until the shard is free instead of refusing.

    Raises:
        OutputError: another process works on the shard, or on a part that overlaps it.
    """
    own = file_lock(books.locks / f"{in_file_name(shard)}.lock")
    while (holder := _take(books, own, shard)) is not None:
        if not wait:
            raise OutputError(
                f"{books.folder}: {holder}; give --wait, or choose another folder (shards of one division may run at "
                "once: --shard 1/2 and --shard 2/2)"
            )
        time.sleep(_PATIENCE_S)
    try:
        yield
    finally:
        with gate(books.locks):
            remove_lock(own)


@contextmanager
def gate(folder: Path, name: str = GATE) -> Iterator[None]:
    """Hold a gate for a moment: only its holder starts or ends a shard, or writes the summary.

    Args:
        folder: folder of the locks.
        name: file of the gate.

    Raises:
        OutputError: the folder cannot be written to, or is on a disk without locks.
    """
    lock = file_lock(folder / name)
    acquired(lock, blocking=True)
    try:
        yield
    finally:
        remove_lock(lock)


@contextmanager
def claimed(books: Books, case: str) -> Iterator[None]:
    """Hold the lock of one case, after any process that runs the case now; needed where a case has another worker.

    Raises:
        OutputError: the folder cannot be written to, or is on a disk without locks.
    """
    lock = file_lock(books.locks / f"case-{sha256(case.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}.lock")
    acquired(lock, blocking=True)
    try:
        yield
    finally:
        remove_lock(lock)


def _take(books: Books, own: Lock, shard: Shard) -> str | None:
    """Take the lock of a shard, or return the holder of an overlapping lock; locks of dead processes are removed."""
    with gate(books.locks):
        for path in sorted(books.locks.iterdir()):
            held = shard_of_file(path.name)
            if held is None or (held.count == shard.count and held != shard):
                continue
            lock = file_lock(path)
            if acquired(lock):
                remove_lock(lock)
            else:
                with path.open("rb") as stream:
                    stream.seek(TEXT_AT)
                    holder = stream.read().decode(errors="backslashreplace") or "another process"
                    return f"{holder} works in this folder (shard {held})"
        if not acquired(own):
            raise AssertionError("a lock that nobody held was taken behind the gate")
    return None
