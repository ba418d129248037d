"""Checks of a path before it is opened."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from brain_edge.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_SMALL_BYTES: Final = 64 * 2**20
"""Largest file that is read as a whole to be parsed; real ones have some kilobytes, long records some megabytes."""


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


_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+]+:/+.+", re.DOTALL)


def in_store(path: Path) -> bool:
    """Return True for an address in a store, such as `s3://bucket/head.nii.gz`; a drive has one letter."""
    return _ADDRESS.fullmatch(path.as_posix()) is not None


def folded(name: str) -> str:
    """Return a name as Windows and macOS compare it: without case, and composed."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


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


def require_regular(path: Path) -> Path:
    """Return the path unless it is a pipe, a device or a socket, of which reading may never end.

    The reader reports a path that is missing, a folder, or cannot be examined.

    Raises:
        InputError: the path is a pipe, a device or a socket.
    """
    if not may_be_file(path) and not path.is_dir():
        raise InputError(f"{path}: expected a file, got a pipe or a device; give a file")
    return path


def read_small(path: Path) -> bytes:
    """Return the content of a file of text or numbers, of which nobody writes more than `MOST_SMALL_BYTES`.

    Raises:
        InputError: the path is a pipe or a device, or the file is larger.
        OSError: the file cannot be read.
    """
    try:
        return _small_content(path)
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return _small_content(path)  # replaced on the server of a share, where its name leads to the new file


def _small_content(path: Path) -> bytes:
    with require_regular(path).open("rb") as file:
        likely_bytes = min(os.fstat(file.fileno()).st_size, MOST_SMALL_BYTES) + 1  # to take no memory for the most
        content = file.read(likely_bytes)
        if len(content) == likely_bytes:  # it has grown, or its system does not tell its size
            content += file.read(MOST_SMALL_BYTES + 1 - likely_bytes)
    if len(content) > MOST_SMALL_BYTES:
        raise InputError(f"{path}: expected a file of at most {MOST_SMALL_BYTES} bytes, got more; give another file")
    return content


def may_be_file(path: Path) -> bool:
    """Return True if a path is a file or cannot be examined; the reader then reports why it cannot be read.

    A broken link, or a share that does not answer, is a faulty input and must not be skipped. Folders, pipes and
    devices are not files.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True
