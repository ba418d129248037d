"""Where a quantisation or a tuning works: one hidden folder beside the package to be, for one process at a time.

In it lie the journal of the search, the package while it is made and, while the process lives, what the networks see
of the heads. All of it is in one place, so that what a killed process has left is found and removed by the next one.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from filelock import FileLock, Timeout

from brain_edge.errors import OutputError
from brain_edge.machine.atomic import require_writable_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK: Final = "lock"
DRAFT: Final = "draft"
SCRATCH: Final = "scratch"


def work_folder(target: Path) -> Path:
    """Where a package is quantised until it is written: hidden, beside it."""
    return target.with_name(f".{target.name}.search")


def draft_folder(target: Path) -> Path:
    """Where the package is put together."""
    return work_folder(target) / DRAFT


def forget_search(target: Path) -> None:
    """Remove the trials, which nobody needs once the package is written."""
    for path in work_folder(target).iterdir():
        if path.is_dir() and path.name != SCRATCH:
            shutil.rmtree(path)


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """An empty folder for what must not outlive the process; nobody else works on `target` meanwhile.

    The lock is the system's: it ends with the process, however that ends.

    Raises:
        OutputError: another process works on this package, or the folder of the package cannot be written to.
    """
    require_writable_folder(target.parent)
    folder = work_folder(target)
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(
            f"{target}: another process is working on this folder; wait for it, or name another one with -o"
        ) from None
    try:
        for left in (folder / SCRATCH, folder / DRAFT):
            shutil.rmtree(left, ignore_errors=True)
        (folder / SCRATCH).mkdir()
        yield folder / SCRATCH
    finally:
        shutil.rmtree(folder / SCRATCH, ignore_errors=True)
        _leave(folder, lock)


def _leave(folder: Path, lock: FileLock) -> None:
    """Give the folder back, and remove it where no search has left a journal in it."""
    lock.release()
    with suppress(OSError):  # another process has taken it over, or trials are kept for the next attempt
        (folder / LOCK).unlink()
        folder.rmdir()
