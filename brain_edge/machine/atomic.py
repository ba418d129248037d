"""Files that exist whole or not at all: written beside their place, moved there when they are complete.

What is being written carries a hidden name that starts with `.partial-`, in the same folder, because only
there is a move one step. A process that is killed outright can leave such a file; nothing takes it for a
result.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from brain_edge.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_PERMISSION: Final = "there is no permission to write in the folder {folder}; change that or choose another folder"
_REASONS: Final[dict[int, str]] = {
    getattr(errno, "EDQUOT", errno.ENOSPC): "the disk quota is used up; free some space",
    errno.ENOSPC: "the disk is full; free some space or choose a folder on another disk",
    errno.EFBIG: "it is larger than a file may be here (ulimit -f); raise the limit or choose another folder",
    errno.EACCES: _NO_PERMISSION,
    errno.EPERM: _NO_PERMISSION,
    errno.EROFS: "the folder {folder} is on a read-only disk; choose another folder",
    errno.ENOENT: "the folder {folder} does not exist; create it first",
    errno.ENOTDIR: "{folder} is not a folder; correct the path",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """A temporary path to write one file to; moved to `path` when the block ends well, removed otherwise.

    The temporary name ends like `path`, so that writers which look at the suffix choose the same format. A
    file that is there is replaced in one step; a symbolic link is followed.

    Raises:
        UsageError: there is something at `path` that is no regular file.
        OutputError: the folder is missing or not writable, the disk is full.
    """
    target = Path(path).resolve()
    with in_words(path, target.parent):
        _refuse_special(target)
        partial = partial_name(target)
        try:
            partial.touch(exist_ok=False)
            yield partial
            flush(partial)
            partial.replace(target)
        except BaseException:  # an interrupt too leaves nothing behind
            partial.unlink(missing_ok=True)
            raise


def require_no_file(folder: Path | str) -> None:
    """Refuse a file where a folder is to be, before minutes are spent on what goes there.

    Raises:
        UsageError: there is a file of that name.
    """
    if (target := Path(folder).resolve()).exists() and not target.is_dir():
        raise UsageError(f"{target}: expected a folder to write, got a file; choose another name")


def require_file_place(path: Path | str) -> None:
    """Make sure that a file can be written, before minutes are spent on what goes into it.

    Raises:
        UsageError: there is something at `path` that is no regular file.
        OutputError: its folder is missing, is a file, or cannot be written to.
    """
    target = Path(path).resolve()
    _refuse_special(target)
    require_writable_folder(target.parent)


def make_folder(path: Path, *, parents: bool = True) -> None:
    """Make a folder where it is not there, with those above it if wanted, and make sure that it can be written to.

    Raises:
        OutputError: it cannot be made, or not be written to.
    """
    with in_words(path, path.resolve().parent):
        path.mkdir(parents=parents, exist_ok=True)
    require_writable_folder(path)


def require_writable_folder(path: Path | str) -> None:
    """Make sure that a file can be created in a folder, before minutes are spent on what goes there.

    Raises:
        OutputError: the folder is missing, is a file, or cannot be written to.
    """
    folder = Path(path).resolve()
    with in_words(path, folder):
        probe = partial_name(folder / "probe")
        try:
            probe.touch(exist_ok=False)
        finally:  # an interrupt may come between the two
            probe.unlink(missing_ok=True)


def partial_name(target: Path) -> Path:
    """The hidden name of what becomes `target`."""
    return target.with_name(f".partial-{secrets.token_hex(4)}-{target.name}")


def flush(file: Path) -> None:
    """Wait until the bytes are on the disk: a failing disk speaks up here, before the file gets its name."""
    with file.open("r+b" if os.name == "nt" else "rb") as stream:  # Windows flushes only what is writable
        os.fsync(stream.fileno())


def _refuse_special(target: Path) -> None:
    if target.is_dir():
        raise UsageError(f"{target}: expected the name of a file to write, got a folder; name a file in it")
    if target.exists() and not target.is_file():
        raise UsageError(f"{target}: expected a regular file to write, got a device or pipe; name a file")


@contextmanager
def in_words(path: Path | str, folder: Path) -> Iterator[None]:
    """Say what the system refused, and what to do about it."""
    try:
        yield
    except OSError as error:
        # the system's own words where the error is about another place
        place = error.filename
        is_elsewhere = isinstance(place, str | os.PathLike) and folder not in Path(place).absolute().parents
        known = None if is_elsewhere or error.errno is None else _REASONS.get(error.errno)
        reason = str(error) if known is None else known.format(folder=folder)
        raise OutputError(f"{path}: could not be written: {reason} (nothing half-written is left)") from error
