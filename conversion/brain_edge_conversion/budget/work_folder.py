"""Work folder of a quantisation or a tuning: one hidden folder beside the future package, for one process at a time.

It holds the journal of the search, the unfinished package and, while the process runs, the captured inputs of the
networks. Everything lies in one place, so the next process finds and removes what a killed process left.
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
QUESTION: Final = "question.json"
"""File of a journal that states what its search answers."""


def work_folder(target: Path) -> Path:
    """Return the hidden work folder beside the package `target`."""
    return target.with_name(f".{target.name}.search")


def draft_folder(target: Path) -> Path:
    """Return the folder in which the package is assembled."""
    return work_folder(target) / DRAFT


def forget_search(target: Path) -> None:
    """Remove the trials; they are not needed once the package is written."""
    for path in work_folder(target).iterdir():
        if path.is_dir() and path.name != SCRATCH:
            shutil.rmtree(path)


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder for temporary files, and lock `target` against other processes.

    The operating system holds the lock: the lock ends with the process, however the process ends.

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
            f"{target}: another process is working on this folder; wait for it, or name another folder with -o"
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
    """Release the folder, and remove it if no search has left a trial in it."""
    _forget_questions(folder)
    lock.release()
    with suppress(OSError):  # another process has taken the folder over, or trials are kept for the next attempt
        (folder / LOCK).unlink()
        folder.rmdir()


def _forget_questions(folder: Path) -> None:
    """Remove the journals in which nothing was written after the question: their search was refused at once."""
    for path in folder.glob(f"*/{QUESTION}"):
        if len(list(path.parent.iterdir())) == 1:
            shutil.rmtree(path.parent, ignore_errors=True)
