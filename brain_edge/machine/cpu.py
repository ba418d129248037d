"""Number of threads that this process may really use.

OpenVINO reads the machine, not the cgroup: in a container with a quota of two CPUs on a host of 64, it starts 64
threads that compete for two. So brain_edge sets the number: the minimum of the affinity mask, the physical cores
(hyper-threading does not double integer and matrix units) and the CPU quota.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

from brain_edge.machine import cgroup, process

CPUINFO: Final = Path("/proc/cpuinfo")


def default_threads() -> int:
    """Return the number of threads for one inference on this machine, at least 1."""
    usable = _affinity()
    limits = [len(usable), _physical_cores(usable), _quota()]
    return max(1, min(limit for limit in limits if limit is not None))


def quota_from_v2(text: str) -> int | None:
    """Return the whole CPUs of a cgroup v2 `cpu.max`, "200000 100000" or "max 100000"; None without a limit."""
    fields = text.split()
    if len(fields) != 2 or fields[0] == "max":
        return None
    return max(1, math.floor(int(fields[0]) / int(fields[1])))


def quota_from_v1(quota_us: str, period_us: str) -> int | None:
    """Return the whole CPUs of cgroup v1's `cpu.cfs_quota_us` and `cpu.cfs_period_us`; None without a limit (-1)."""
    quota, period = int(quota_us), int(period_us)
    return max(1, math.floor(quota / period)) if quota > 0 and period > 0 else None


def physical_cores(cpuinfo: str, usable: frozenset[int]) -> int | None:
    """Count distinct (package, core) pairs of the usable processors in a Linux `/proc/cpuinfo`; None if unknown."""
    cores = set()
    for fields in processor_fields(cpuinfo):
        if "core id" not in fields:
            return None
        if int(fields["processor"]) in usable:
            cores.add((fields.get("physical id", "0"), fields["core id"]))
    return len(cores) or None


def processor_fields(cpuinfo: str) -> list[dict[str, str]]:
    """Return the fields of each processor in a Linux `/proc/cpuinfo`."""
    blocks = (block.splitlines() for block in cpuinfo.strip().split("\n\n"))
    pairs = ([line.partition(":") for line in lines if ":" in line] for lines in blocks)
    return [{name.strip(): value.strip() for name, _, value in fields} for fields in pairs]


def _affinity() -> frozenset[int]:
    # macOS and Windows have no affinity mask in the standard library
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _physical_cores(usable: frozenset[int]) -> int | None:
    # psutil counts all cores of the machine, not of the affinity mask, so it serves systems without a mask
    return physical_cores(CPUINFO.read_text(), usable) if CPUINFO.is_file() else process.physical_cores()


def _quota() -> int | None:
    """Return the tightest quota of all cgroups of this process."""
    quotas = [_quota_in(folder) for folder in cgroup.folders("cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_in(folder: Path) -> int | None:
    v2 = folder / "cpu.max"
    if v2.is_file():
        return quota_from_v2(v2.read_text())
    quota_us, period_us = folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"
    if quota_us.is_file() and period_us.is_file():
        return quota_from_v1(quota_us.read_text(), period_us.read_text())
    return None
