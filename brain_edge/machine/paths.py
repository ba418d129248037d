"""What can be said of a path before it is opened."""

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
    """The same path, if its name is text: some names are bytes that this system's encoding does not know.

    Such a file can be read, but neither its record nor a list of results could name it.

    Raises:
        InputError: it is none.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{path}: expected a name in this system's encoding ({sys.getfilesystemencoding()}), got other bytes; "
            "rename it, or set PYTHONUTF8=1 if it is text in UTF-8"
        ) from error
    return path


def files_below(folder: Path) -> Iterator[Path]:
    """Files of a folder and of those below it, also linked ones, each real folder once; unreadable files too.

    What was passed over would be slices, or images, that are missing.

    Raises:
        InputError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise InputError(
            f"{folder}: a folder in it could not be read: {error.strerror}; make it readable, or give a copy"
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
    """Whether a name is a file, or nobody can tell: then whoever opens it says why it cannot be read.

    A link that leads nowhere, or a share that does not answer, is an input that is missing and no absent one. Folders,
    pipes and devices are no files.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True
