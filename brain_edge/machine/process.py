"""Memory and cores of this process: used so far, and still available."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import psutil

from brain_edge.errors import InputError
from brain_edge.machine import cgroup

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")
STATUS: Final = Path("/proc/self/status")
_LIMITS: Final = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""Files with the limit and the use of memory, of cgroup version 2 and 1."""


def peak_rss_bytes() -> int:
    """Return the peak resident memory of this process so far."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    # on Linux getrusage starts with the peak of the parent process; some sandboxes have no VmHWM
    status = STATUS.read_text() if STATUS.is_file() else ""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if found is not None:
        return int(found[1]) * 1024
    import resource

    # kilobytes on Linux and the BSDs, bytes on macOS
    greatest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return greatest if sys.platform == "darwin" else greatest * 1024


def return_free_memory() -> None:
    """Return the free memory of this process to the system where the C library keeps it (glibc)."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def is_running(process: int) -> bool:
    """Return True if a process with this number runs on this machine."""
    return bool(psutil.pid_exists(process))


def rss_bytes() -> int | None:
    """Return the current resident memory of this process, or None if the system does not report it."""
    return _told(lambda: psutil.Process().memory_info().rss)


def available_bytes() -> int | None:
    """Return the memory that this process may reach: its own plus the free memory of the machine and its cgroup."""
    held, free = rss_bytes(), _free_bytes()
    return None if held is None or free is None else held + free


def require_free(needed_bytes: int, what: str) -> None:
    """Refuse work that needs more than the free memory, before the system kills this process.

    Raises:
        InputError: there is not enough memory.
    """
    free = _free_bytes()
    if free is not None and needed_bytes > free:
        raise InputError(
            f"{what} needs {needed_bytes // 2**20} MiB of memory, and {free // 2**20} MiB are free; "
            "close other programs, or use a machine with more memory"
        )


def total_bytes() -> int | None:
    """Return the memory of the machine, or None if the system does not report it."""
    return _told(lambda: psutil.virtual_memory().total)


def physical_cores() -> int | None:
    """Return the cores of the machine without hyper-threads, or None if the system does not report them."""
    return _told(lambda: psutil.cpu_count(logical=False))


def _told(question: Callable[[], Answer]) -> Answer | None:
    """Return the answer of psutil, or None if the system denies it, as a Linux without /proc does."""
    try:
        return question()
    except (OSError, psutil.Error):
        return None


def _free_bytes() -> int | None:
    """Return the minimum free memory of the machine and of each cgroup of this process; None if unknown."""
    in_machine = _told(lambda: psutil.virtual_memory().available)
    left = [] if in_machine is None else [in_machine]
    for folder in cgroup.folders("memory"):
        for limit_name, used_name in _LIMITS:
            limit, used = folder / limit_name, folder / used_name
            if limit.is_file() and used.is_file() and (text := limit.read_text().strip()) != "max":
                left.append(max(0, int(text) - int(used.read_text()) + _reclaimable(folder)))
    return min(left, default=None)


def _reclaimable(folder: Path) -> int:
    """Return the bytes of file pages that count as used, but that the system drops on demand."""
    stat = folder / "memory.stat"
    if not stat.is_file():
        return 0
    fields = dict(line.split() for line in stat.read_text().splitlines() if len(line.split()) == 2)
    return int(fields.get("inactive_file", fields.get("total_inactive_file", "0")))
