"""Partial folders whose writer holds a lock, in a folder that several processes and machines fill at once.

The number of a process says nothing on another machine or in another container. A lock says everywhere whether the
writer lives.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from brain_edge.errors import OutputError
from brain_edge.machine.atomic import is_leftover, is_partial, listed, remove_partial
from brain_edge.machine.file_lock import acquired, file_lock, remove_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK: Final = ".lock"
"""End of the name of the lock beside a partial folder."""


@contextmanager
def owned(partial: Path) -> Iterator[None]:
    """Hold the lock of a partial folder that is about to be made; a disk without locks has none."""
    lock = file_lock(_lock_of(partial))
    try:
        is_held = acquired(lock)
    except OutputError:
        is_held = False
    try:
        yield
    finally:
        if is_held:
            remove_lock(lock)


def remove_unowned(folder: Path) -> None:
    """Remove the partial folders that no living process owns, on this machine or on another one.

    The lock of a partial folder is older than the folder. A folder without a lock, as earlier versions left it, is
    removed if its process does not run here.
    """
    for path in listed(folder):
        if not is_partial(path):
            continue
        partial = path.with_name(path.name.removesuffix(LOCK))
        if _lock_of(partial).exists():
            _remove_if_free(partial)
        elif is_leftover(partial):
            remove_partial(partial)


def _remove_if_free(partial: Path) -> None:
    lock = file_lock(_lock_of(partial))
    try:
        if not acquired(lock):
            return
    except OutputError:  # a disk without locks, or the lock of another user: nobody can tell who lives
        return
    remove_partial(partial)
    remove_lock(lock)


def _lock_of(partial: Path) -> Path:
    return partial.with_name(partial.name + LOCK)
