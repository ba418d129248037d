"""Stamp of a file: what tells, without reading it, that it has not changed since its hash was taken."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_COARSE_NS: Final = 1_000_000_000
_MOST_INODE: Final = 2**63 - 1
"""Largest number of every reader of JSON; Windows has longer ones."""


class Stamp(NamedTuple):
    """Size, time of the last change and inode of a file.

    A file that is edited has another time. A file that is replaced, even with its time kept, has another inode. Times
    are compared for being equal and never for their order, so a clock that jumps makes no difference.
    """

    size_bytes: int
    mtime_ns: int
    inode: int

    def is_recent(self) -> bool:
        """Return True if the file may change again within the same tick of its file system, which no stamp would show.

        A tick is 2 s where times are whole seconds, else some milliseconds.
        """
        tick_ns = 2 * _COARSE_NS if self.mtime_ns % _COARSE_NS == 0 else _COARSE_NS // 10
        return abs(time.time_ns() - self.mtime_ns) < tick_ns


def stamp_of(path: Path | os.DirEntry[str]) -> Stamp:
    """Return the stamp of a file; links are followed.

    Raises:
        OSError: the file is missing or cannot be examined.
    """
    found = os.stat(path)  # noqa: PTH116 - an entry of a folder is no Path
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino & _MOST_INODE)


def stamp_or_none(path: Path) -> Stamp | None:
    """Return the stamp of a file, or None if there is none.

    Raises:
        OSError: the file cannot be examined, as on a share that does not answer.
    """
    try:
        return stamp_of(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
