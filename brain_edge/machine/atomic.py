"""Write files completely or not at all: under a hidden name first, renamed when complete.

A partial file has a hidden name that starts with `.partial-`. It lies in the folder of its target, or in a staging
folder on the same disk, because a rename is one step only there. A killed process can leave such a file, which no
reader takes for a result; the next process that writes in the same place removes the file.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from brain_edge.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PARTIAL: Final = re.compile(r"(?:\.partial-([0-9a-f]{6})[0-9a-f]{2}-)+(.+)")
"""A hidden name: the process that writes, a number, and the name to be, which an earlier version may have hidden twice.
"""
_MOST_PROCESS: Final = 0xFFFFFF
_NUMBERS: Final = count()

_NO_PERMISSION: Final = "there is no permission to write in the folder {folder}; change that or choose another folder"
_REASONS: Final[dict[int, str]] = {
    getattr(errno, "EDQUOT", errno.ENOSPC): "the disk quota is used up; free some space",
    errno.ENOSPC: "the disk is full; free some space or choose a folder on another disk",
    errno.EFBIG: "the file exceeds the size limit (ulimit -f); raise the limit or choose another folder",
    errno.EACCES: _NO_PERMISSION,
    errno.EPERM: _NO_PERMISSION,
    errno.EROFS: "the folder {folder} is on a read-only disk; choose another folder",
    errno.ENOENT: "the folder {folder} does not exist; create it first",
    errno.ENOTDIR: "{folder} is not a folder; correct the path",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


@contextmanager
def atomic_file(path: Path | str, staging: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path for one file; rename it to `path` if the block succeeds, remove it otherwise.

    The temporary name ends like `path`, so that a writer that looks at the suffix chooses the same format. An
    existing file is replaced in one step; a symbolic link is followed.

    Args:
        path: file to write.
        staging: existing folder of the temporary file; by default the folder of `path`.

    Raises:
        UsageError: `path` exists and is not a regular file.
        OutputError: the folder is missing or not writable, or the disk is full.
    """
    target = Path(path).resolve()
    with in_words(path, target.parent, staging):
        _refuse_special(target)
        partial = partial_name(target if staging is None else staging / target.name)
        try:
            partial.touch(exist_ok=False)
            yield partial
            flush(partial)
            _rename(partial, target)
        except BaseException:  # after an interrupt, too, no file is left
            partial.unlink(missing_ok=True)
            raise


def _rename(partial: Path, target: Path) -> None:
    """Give a whole file its name; where the name lies on another disk, a copy beside it gets the name."""
    try:
        partial.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with atomic_file(target) as beside:
            shutil.copyfile(partial, beside)
        partial.unlink()


def require_no_file(folder: Path | str) -> None:
    """Refuse a file in place of an output folder, before any computation.

    Raises:
        UsageError: a file has that name.
    """
    if (target := Path(folder).resolve()).exists() and not target.is_dir():
        raise UsageError(f"{target}: expected a folder to write, got a file; choose another name")


def require_file_place(path: Path | str) -> None:
    """Check that a file can be written, before any computation.

    Raises:
        UsageError: `path` exists and is not a regular file.
        OutputError: its folder is missing, is a file, or cannot be written to.
    """
    target = Path(path).resolve()
    _refuse_special(target)
    require_writable_folder(target.parent)


def make_folder(path: Path, *, parents: bool = True) -> None:
    """Make a missing folder, by default with its parents, and check that it can be written to.

    Raises:
        OutputError: the folder cannot be made or cannot be written to.
    """
    with in_words(path, path.resolve().parent):
        path.mkdir(parents=parents, exist_ok=True)
    require_writable_folder(path)


def require_writable_folder(path: Path | str) -> None:
    """Check that a file can be created in a folder, before any computation.

    Raises:
        OutputError: the folder is missing, is a file, or cannot be written to.
    """
    folder = Path(path).resolve()
    # without a name where the system can, so that a process killed now leaves none
    with in_words(path, folder), tempfile.TemporaryFile(dir=str(folder), prefix=".partial-"):
        pass


def partial_name(target: Path) -> Path:
    """Return the hidden name of a file or folder that becomes `target`."""
    process, number = os.getpid() & _MOST_PROCESS, next(_NUMBERS) & 0xFF
    return target.with_name(f".partial-{process:06x}{number:02x}-{target.name}")


def remove_leftovers(targets: Iterable[Path], *, alone: bool = False) -> None:
    """Remove partial files and folders that a killed process left for these targets.

    Args:
        targets: paths that this process has not begun to write to.
        alone: no other process can write to the targets; otherwise partial files of a running process stay.
    """
    by_folder: dict[Path, set[str]] = {}
    for path in targets:
        by_folder.setdefault(path.resolve().parent, set()).add(path.resolve().name)
    for folder, names in by_folder.items():
        _remove_partials(folder, names, alone=alone)


def remove_all_leftovers(folder: Path) -> None:
    """Remove all partial files and folders that killed processes left in a folder."""
    _remove_partials(folder, None, alone=False)


def _remove_partials(folder: Path, names: set[str] | None, *, alone: bool) -> None:
    for path in listed(folder):
        found = _PARTIAL.fullmatch(path.name)
        if found is None or (names is not None and found[2] not in names):
            continue
        if alone or is_leftover(path):
            remove_partial(path)


def is_partial(path: Path) -> bool:
    """Return True for the hidden name of a file or folder that was being written."""
    return _PARTIAL.fullmatch(path.name) is not None


def is_leftover(path: Path) -> bool:
    """Return True for a hidden name whose process does not run on this machine."""
    from brain_edge.machine.process import is_running

    found = _PARTIAL.fullmatch(path.name)
    if found is None:
        return False
    process = int(found[1], 16)
    # a container that is started again gives the same number to another process, for one to this
    return process == os.getpid() & _MOST_PROCESS or not is_running(process)


def remove_partial(path: Path) -> None:
    """Remove a partial file or folder, as far as this user may."""
    with suppress(OSError):  # another user's; or open, on Windows
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def listed(folder: Path) -> list[Path]:
    """Return the entries of a folder; none if the folder is missing or may not be listed."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def flush(file: Path) -> None:
    """Wait until the bytes are on the disk, so that a failing disk is noticed before the file gets its name."""
    with file.open("r+b" if os.name == "nt" else "rb") as stream:  # Windows flushes writable files only
        os.fsync(stream.fileno())


def _refuse_special(target: Path) -> None:
    if target.is_dir():
        raise UsageError(f"{target}: expected the name of a file to write, got a folder; name a file in it")
    if target.exists() and not target.is_file():
        raise UsageError(f"{target}: expected a regular file to write, got a device or pipe; name a file")


@contextmanager
def in_words(path: Path | str, folder: Path, staging: Path | None = None) -> Iterator[None]:
    """Turn an error of the system into an OutputError with the reason and the remedy."""
    try:
        yield
    except OSError as error:
        # the system's own message if the error is about another place
        place = error.filename
        is_elsewhere = isinstance(place, str | os.PathLike) and not (
            {folder, staging} & {*Path(place).absolute().parents}
        )
        known = None if is_elsewhere or error.errno is None else _REASONS.get(error.errno)
        reason = str(error) if known is None else known.format(folder=folder)
        raise OutputError(f"{path}: could not be written: {reason} (no partial file is left)") from error
