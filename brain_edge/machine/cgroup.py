"""Limits of the cgroup of this process and of all cgroups around it, and the memory that they leave.

In a container the file system shows the own cgroup as the root. Under systemd (`CPUQuota=`, `MemoryMax=`) or a batch
system the limit is in a folder below. Both are read, for version 1 and 2, and the tightest limit holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUP: Final = Path("/sys/fs/cgroup")
MEMBERSHIP: Final = Path("/proc/self/cgroup")
_LIMITS: Final = (
    ("memory.max", "memory.current"),
    ("memory.high", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Files with a limit and the use of memory, of cgroup version 2 and 1."""


def folders(controller: str) -> Iterator[Path]:
    """Yield the folders that may hold the files of a controller (`cpu`, `memory`), version 2 before version 1."""
    paths = _paths()
    for root in (CGROUP, CGROUP / "unified"):  # the second where both versions are mounted
        yield from _upwards(root, paths.get("", "/"))
    yield from _upwards(CGROUP / controller, paths.get(controller, "/"))


def free_memory_bytes() -> Iterator[int]:
    """Yield what each cgroup of this process leaves of its memory, in bytes; nothing for a cgroup without a limit.

    Above `memory.high` the system does not kill, but it slows a process down until nothing moves.
    """
    for folder in folders("memory"):
        for limit_name, used_name in _LIMITS:
            limit, used = _number(folder / limit_name), _number(folder / used_name)
            if limit is not None and used is not None:
                yield max(0, limit - used + _reclaimable(folder))


def _reclaimable(folder: Path) -> int:
    """Return the bytes of files that count as used, but that the system drops on demand, as no process maps them.

    Version 1 counts the groups inside under names of their own (`total_...`), and version 2 under the plain ones.
    """
    try:
        lines = [line.split() for line in (folder / "memory.stat").read_text().splitlines()]
    except OSError:
        return 0
    fields = {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdecimal()}

    def of(*names: str) -> int:
        return next((fields[name] for name in names if name in fields), 0)

    cached = of("total_inactive_file", "inactive_file") + of("total_active_file", "active_file")
    return max(0, cached - of("total_mapped_file", "mapped_file", "file_mapped"))


def _number(path: Path) -> int | None:
    """Return the number in a file; None for "max", and for a file that is missing or cannot be read."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """Yield the folder of a path below a root and its parents up to the root; a container may hide lower folders."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for count in reversed(range(len(parts) + 1)):
        folder = root.joinpath(*parts[:count])
        if folder.is_dir():
            yield folder


def _paths() -> dict[str, str]:
    """Return the path of this process by controller; "" stands for version 2."""
    if not MEMBERSHIP.is_file():
        return {}
    found = {}
    for line in MEMBERSHIP.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found
