"""What this process has used so far, and what is left for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from brain_edge.errors import InputError
from brain_edge.machine import cgroup

STATUS: Final = Path("/proc/self/status")
MEMINFO: Final = Path("/proc/meminfo")
_LIMITS: Final = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""Of cgroup version 2 and 1."""


def peak_rss_bytes() -> int | None:
    """Greatest resident memory of this process so far (VmHWM), or None where the system does not say."""
    peak = _status_bytes("VmHWM")
    if peak is not None:
        return peak
    if sys.platform == "win32":
        return None
    import resource

    # kilobytes on Linux and the BSDs, bytes on macOS
    greatest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return greatest if sys.platform == "darwin" else greatest * 1024


def return_free_memory() -> None:
    """Give memory that is free in this process back to the system, where the C library keeps it (glibc)."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def rss_bytes() -> int | None:
    """Resident memory of this process now (VmRSS), or None where the system does not say."""
    return _status_bytes("VmRSS")


def available_bytes() -> int | None:
    """What this process may come to: what it holds and what is free, in the machine and in its cgroup."""
    held = rss_bytes()
    free = [each for each in (_free_in_machine(), _free_in_cgroup()) if each is not None]
    return None if held is None or not free else held + min(free)


def require_free(needed_bytes: int, what: str) -> None:
    """Refuse what the machine has no memory for, before the system ends this process for it.

    Raises:
        InputError: there is not enough.
    """
    free = [each for each in (_free_in_machine(), _free_in_cgroup()) if each is not None]
    if free and needed_bytes > min(free):
        raise InputError(
            f"{what} needs {needed_bytes // 2**20} MiB of memory and {min(free) // 2**20} MiB are free; "
            "close other programs, or take a machine with more memory"
        )


def _free_in_machine() -> int | None:
    if not MEMINFO.is_file():
        return None
    for line in MEMINFO.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _free_in_cgroup() -> int | None:
    """The least that any cgroup of this process has left; None without a limit."""
    left = []
    for folder in cgroup.folders("memory"):
        for limit_name, used_name in _LIMITS:
            limit, used = folder / limit_name, folder / used_name
            if limit.is_file() and used.is_file() and (text := limit.read_text().strip()) != "max":
                left.append(max(0, int(text) - int(used.read_text()) + _reclaimable(folder)))
    return min(left, default=None)


def _reclaimable(folder: Path) -> int:
    """File pages that the system drops when memory is asked for; they count as used."""
    stat = folder / "memory.stat"
    if not stat.is_file():
        return 0
    fields = dict(line.split() for line in stat.read_text().splitlines() if len(line.split()) == 2)
    return int(fields.get("inactive_file", fields.get("total_inactive_file", "0")))


def _status_bytes(name: str) -> int | None:
    """A line of `/proc/self/status`; some sandboxes have the file without it."""
    if not STATUS.is_file():
        return None
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None
