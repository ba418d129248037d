"""Locks of a folder: one process per shard; the system releases a lock when its process dies.

A running shard holds `1-of-4.lock` in the folder of the locks. The shards of one division share a folder. The same
shard twice, or shards of different divisions, would run the same cases twice. A process checks the folder and takes its
own lock while it holds the gate, so two processes that start together cannot both find the folder free. It does not try
the other locks of its own division, of which there may be a thousand.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from brain_edge.errors import OutputError
from brain_edge.jobs.batch.shard import in_file_name, shard_of_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from filelock import FileLock

    from brain_edge.jobs.batch.books import Books
    from brain_edge.jobs.batch.shard import Shard

GATE: Final = "gate.lock"
SUMMARY_GATE: Final = "summary.lock"
"""Gate of the summary, which takes longer than a shard should wait for."""
_PATIENCE_S: Final = 0.5
_TEXT_AT: Final = 1
"""Offset of the owner's name in a lock file: Windows locks the first byte, which no other process can read."""


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
    own = _lock(books.locks / f"{in_file_name(shard)}.lock")
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
            _remove(own)


@contextmanager
def gate(folder: Path, name: str = GATE) -> Iterator[None]:
    """Hold a gate for a moment: only its holder starts or ends a shard, or writes the summary.

    Args:
        folder: folder of the locks.
        name: file of the gate.

    Raises:
        OutputError: the folder cannot be written to, or is on a disk without locks.
    """
    lock = _lock(folder / name)
    _acquired(lock, blocking=True)
    try:
        yield
    finally:
        _remove(lock)


@contextmanager
def claimed(books: Books, case: str) -> Iterator[None]:
    """Hold the lock of one case, after any process that runs the case now; needed where a case has another worker.

    Raises:
        OutputError: the folder cannot be written to, or is on a disk without locks.
    """
    lock = _lock(books.locks / f"case-{sha256(case.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}.lock")
    _acquired(lock, blocking=True)
    try:
        yield
    finally:
        _remove(lock)


def _take(books: Books, own: FileLock, shard: Shard) -> str | None:
    """Take the lock of a shard, or return the holder of an overlapping lock; locks of dead processes are removed."""
    with gate(books.locks):
        for path in sorted(books.locks.iterdir()):
            held = shard_of_file(path.name)
            if held is None or (held.count == shard.count and held != shard):
                continue
            lock = _lock(path)
            if _acquired(lock):
                _remove(lock)
            else:
                with path.open("rb") as stream:
                    stream.seek(_TEXT_AT)
                    holder = stream.read().decode(errors="backslashreplace") or "another process"
                    return f"{holder} works in this folder (shard {held})"
        if not _acquired(own):
            raise AssertionError("a lock that nobody held was taken behind the gate")
    return None


def _remove(lock: FileLock) -> None:
    """Release a lock and remove its file; on Windows, where an open file cannot be removed, filelock removes it."""
    with suppress(PermissionError):
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def _lock(path: Path) -> FileLock:
    from filelock import FileLock

    return FileLock(path, poll_interval=0.01, fallback_to_soft=False, on_acquired=_sign)


def _sign(descriptor: int) -> None:
    """Write the holder of a lock into its file."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    text = f"process {os.getpid()} on {socket.gethostname()} since {started}".encode()
    os.lseek(descriptor, 0, os.SEEK_SET)
    with suppress(OSError):  # on a full disk the lock also works without a name
        os.write(descriptor, b" " * _TEXT_AT + text)
        os.truncate(descriptor, _TEXT_AT + len(text))


def _acquired(lock: FileLock, *, blocking: bool = False) -> bool:
    """Try to take a lock, and return True if this process has it now.

    Raises:
        OutputError: the folder cannot be written to, or is on a disk without locks.
    """
    from filelock import Timeout

    try:
        lock.acquire(blocking=blocking)
    except Timeout:
        return False
    except OSError as error:
        raise OutputError(
            f"{Path(lock.lock_file).parent}: cannot lock a file in this folder ({error.strerror}); "
            "make the folder writable, or choose another folder"
        ) from error
    return True
