"""Memory and cores of this process: used so far, and still available."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import psutil

from brain_edge.errors import InputError
from brain_edge.machine import cgroup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Answer = TypeVar("Answer")
STATUS: Final = Path("/proc/self/status")
MIB: Final = 2**20
HEAPS_BYTES: Final = 288 * MIB
"""Address space that a process takes beyond its need as soon as there is more: heaps of 64 MiB (glibc) and stacks of
8 MiB for four threads. Without them, whoever follows the advice is refused at the very same step."""


class Remedy(StrEnum):
    """What bounds the memory of this process, as the advice to whoever needs more."""

    MACHINE = "close other programs, or use a machine with more memory"
    CGROUP = "raise the memory limit of this container or job"
    ADDRESSES = "raise the limit of the address space (ulimit -v)"
    DATA = "raise the limit of the data segment (ulimit -d)"

    @property
    def counts_reserved(self) -> bool:
        """Return True if also what is reserved and never touched counts: a limit that this process itself has."""
        return self in (Remedy.ADDRESSES, Remedy.DATA)


@dataclass(frozen=True)
class Room:
    """Memory that is left to this process.

    Attributes:
        size_bytes: its size in bytes.
        remedy: what bounds it.
    """

    size_bytes: int
    remedy: Remedy

    def advice(self, needed_bytes: int) -> str:
        """Return what to do to have `needed_bytes`; what is missing is rounded up to 10 MiB."""
        if self.remedy is Remedy.MACHINE:
            return self.remedy.value
        missing = needed_bytes - self.size_bytes + (HEAPS_BYTES if self.remedy.counts_reserved else 0)
        missing_mib = -(-missing // (10 * MIB)) * 10
        return f"{self.remedy.value} by {missing_mib} MiB or more"


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


def available() -> Room | None:
    """Return the memory that this process may reach: its resident memory and what is free; None if unknown."""
    held, free = rss_bytes(), free_memory()
    return None if held is None or free is None else Room(held + free.size_bytes, free.remedy)


def require_free(needed_bytes: int, what: str, addresses_bytes: int = 0) -> None:
    """Refuse work that needs more than the free memory, before the system kills this process.

    Args:
        needed_bytes: memory that the work touches, in bytes.
        what: subject of the message.
        addresses_bytes: address space that the work reserves beside it, in bytes.

    Raises:
        InputError: there is not enough memory.
    """
    free = free_memory()
    if free is None:
        return
    needed = needed_bytes + (addresses_bytes if free.remedy.counts_reserved else 0)
    if needed > free.size_bytes:
        raise InputError(
            f"{what} needs {needed // MIB} MiB of memory, and {free.size_bytes // MIB} MiB are free; "
            f"{free.advice(needed)}"
        )


def binding_remedy() -> Remedy:
    """Return the advice about whatever leaves the least memory now; that about the machine if nothing is known."""
    room = free_memory()
    return Remedy.MACHINE if room is None else room.remedy


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


def free_memory() -> Room | None:
    """Return the least that the machine, a cgroup or a limit of this process leaves it; None if unknown."""
    in_machine = _told(lambda: psutil.virtual_memory().available)
    left = [] if in_machine is None else [Room(in_machine, Remedy.MACHINE)]
    left += [Room(size, Remedy.CGROUP) for size in cgroup.free_memory_bytes()]
    return min([*left, *_below_limits()], key=lambda room: room.size_bytes, default=None)


def _below_limits() -> Iterator[Room]:
    """Yield what the limits of this process leave; only Linux keeps them, and counts what they bind as psutil does."""
    used = _told(lambda: psutil.Process().memory_info()) if sys.platform == "linux" else None
    if used is None:
        return
    import resource

    for number, taken, remedy in (
        (resource.RLIMIT_AS, used.vms, Remedy.ADDRESSES),
        (resource.RLIMIT_DATA, used.data, Remedy.DATA),
    ):
        limit = resource.getrlimit(number)[0]
        if limit != resource.RLIM_INFINITY:
            yield Room(max(0, limit - taken), remedy)
