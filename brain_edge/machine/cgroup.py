"""Limits of the cgroup of this process and of all cgroups around it.

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


def folders(controller: str) -> Iterator[Path]:
    """Yield the folders that may hold the files of a controller (`cpu`, `memory`), version 2 before version 1."""
    paths = _paths()
    yield from _upwards(CGROUP, paths.get("", "/"))
    yield from _upwards(CGROUP / controller, paths.get(controller, "/"))


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
