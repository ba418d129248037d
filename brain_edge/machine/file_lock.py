"""Locks of files, which the system releases when their process dies, on any machine that shares the disk."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from brain_edge.errors import OutputError

if TYPE_CHECKING:
    from filelock import FileLock

Lock: TypeAlias = "FileLock"
TEXT_AT: Final = 1
"""Offset of the owner's name in a lock file: Windows locks the first byte, which no other process can read."""


def remove_lock(lock: Lock) -> None:
    """Release a lock and remove its file; on Windows, where an open file cannot be removed, filelock removes it."""
    with suppress(PermissionError):
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def file_lock(path: Path) -> Lock:
    """Return the lock of a file, which nobody holds yet."""
    from filelock import FileLock

    return FileLock(path, poll_interval=0.01, fallback_to_soft=False, on_acquired=_sign)


def acquired(lock: Lock, *, blocking: bool = False) -> bool:
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


def _sign(descriptor: int) -> None:
    """Write the holder of a lock into its file."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    text = f"process {os.getpid()} on {socket.gethostname()} since {started}".encode()
    os.lseek(descriptor, 0, os.SEEK_SET)
    with suppress(OSError):  # on a full disk the lock also works without a name
        os.write(descriptor, b" " * TEXT_AT + text)
        os.truncate(descriptor, TEXT_AT + len(text))
