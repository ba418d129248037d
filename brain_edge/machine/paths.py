"""Checks of a path before it is opened."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from brain_edge.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator


def require_text(path: Path) -> Path:
    """Return the path if its name is text; some names are bytes that the encoding of this system does not know.

    A file with such a name can be read, but neither its record nor a list of results could name it.

    Raises:
        InputError: the name is not text.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{path}: expected a name in this system's encoding ({sys.getfilesystemencoding()}), got other bytes; "
            "rename the file, or set PYTHONUTF8=1 if the name is UTF-8"
        ) from error
    return path


def files_below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, also linked and unreadable files; each real folder is visited once.

    A skipped file would be a missing slice or image.

    Raises:
        InputError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise InputError(
            f"{folder}: a subfolder could not be read: {error.strerror}; make it readable, or give a copy"
        ) from error

    seen: set[str] = set()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (path for name in sorted(names) if may_be_file(path := Path(place, name)))


def may_be_file(path: Path) -> bool:
    """Return True if a path is a file or cannot be examined; the reader then reports why it cannot be read.

    A broken link, or a share that does not answer, is a faulty input and must not be skipped. Folders, pipes and
    devices are not files.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True
