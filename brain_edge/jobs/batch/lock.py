"""Who works in a folder: one process per shard, told by locks that the system releases when a process dies.

A running shard holds `.brain-edge-1-of-4.lock`. Its parts share a folder; the same part twice, or parts of another
division, would run the same cases twice. Whoever starts looks and takes his own lock while he holds the gate, so that
two who start together cannot both find the folder free.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Final

from brain_edge.errors import OutputError
from brain_edge.jobs.batch.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GATE: Final = ".brain-edge-gate.lock"
_NAME: Final = ".brain-edge-{shard.number}-of-{shard.count}.lock"
_PATTERN: Final = re.compile(r"\.brain-edge-([0-9]+)-of-([0-9]+)\.lock")
_PATIENCE_S: Final = 0.5
_BEYOND: Final = 1 << 30
"""Where Windows locks a byte: past the text, which others may read meanwhile."""


@contextmanager
def working(folder: Path, shard: Shard, *, wait: bool = False) -> Iterator[None]:
    """Hold a shard of a folder.

    Args:
        folder: that exists and can be written to.
        shard: what is to be run.
        wait: until it is free, instead of refusing.

    Raises:
        OutputError: another process works on it, or on a part that overlaps it.
    """
    own = folder / _NAME.format(shard=shard)
    stream = _take(folder, own, shard)
    while stream is None:
        if not wait:
            raise OutputError(_busy(folder, shard))
        time.sleep(_PATIENCE_S)
        stream = _take(folder, own, shard)
    try:
        yield
    finally:
        with gate(folder), stream:
            _remove(own, stream)


@contextmanager
def gate(folder: Path) -> Iterator[None]:
    """Be the only one who starts, ends or writes the summary in a folder; for moments, so that others wait.

    Raises:
        OutputError: the folder cannot be written to, or is on a disk without locks.
    """
    path = folder / GATE
    stream = _opened(path)
    while not (_lock(stream) and _is_at(stream, path)):
        stream.close()  # the one who held it has removed it, and others may hold the next one
        time.sleep(0.01)
        stream = _opened(path)
    try:
        yield
    finally:
        with suppress(PermissionError):  # Windows keeps a file that others have opened; the last one removes it
            _remove(path, stream)
        stream.close()


def _is_at(stream: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _take(folder: Path, own: Path, shard: Shard) -> IO[str] | None:
    """The lock of this shard, or None while somebody holds it or one that overlaps it."""
    with gate(folder):
        if _holder(folder, shard) is not None:
            return None
        stream = _opened(own)
        if not _lock(stream):
            raise AssertionError("a lock that nobody held was taken behind the gate")
        stream.truncate()
        started = datetime.now(UTC).isoformat(timespec="seconds")
        stream.write(f"process {os.getpid()} on {socket.gethostname()} since {started}")
        stream.flush()
        return stream


def _holder(folder: Path, shard: Shard) -> Path | None:
    """The lock of a living process that excludes this shard; locks of dead ones are removed."""
    for path in sorted(folder.iterdir()):
        found = _PATTERN.fullmatch(path.name)
        if found is None or not _is_held(path):
            continue
        if Shard(int(found[1]), int(found[2])) == shard or int(found[2]) != shard.count:
            return path
    return None


def _is_held(path: Path) -> bool:
    with _opened(path) as stream:
        if not _lock(stream):
            return True
        _remove(path, stream)
    return False


def _remove(path: Path, stream: IO[str]) -> None:
    """Remove a lock file that we hold; Windows lets nobody remove an open one, and nobody else can take it here."""
    if sys.platform == "win32":
        stream.close()
    path.unlink(missing_ok=True)


def _busy(folder: Path, shard: Shard) -> str:
    with gate(folder):
        holder = _holder(folder, shard)
    owner = "another process, which has just ended" if holder is None else holder.read_text(encoding="utf-8")
    what = "" if holder is None else f" (shard {holder.name[12:-5].replace('-of-', '/')})"
    return (
        f"{folder}: {owner} works in this folder{what}; wait for it, or say --wait, or choose another folder "
        "(shards of one division may run at once: --shard 1/2 and --shard 2/2)"
    )


def _opened(path: Path) -> IO[str]:
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+", encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{path.parent}: this folder of results cannot be written to ({error.strerror}); "
            "change that or choose another folder"
        ) from error


if sys.platform == "win32":

    def _lock(stream: IO[str]) -> bool:
        """Lock a file until it is closed, unless somebody else has."""
        import msvcrt

        stream.seek(_BEYOND)
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            stream.seek(0)
        return True

else:

    def _lock(stream: IO[str]) -> bool:
        """Lock a file until it is closed, unless somebody else has."""
        import fcntl

        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise OutputError(
                f"{stream.name}: this disk has no locks ({error.strerror}); choose another one"
            ) from error
        return True
