"""How busy the machine is that is measured; what machine it is: `brain_edge.machine.description`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

STAT: Final = Path("/proc/stat")
IDLE_FIELDS: Final = (3, 4)
"""Of a line of `/proc/stat`: idle, and waiting for input or output (proc(5))."""

COUNTED_FIELDS: Final = 8
"""user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in user and nice already."""


def load_average() -> float | None:
    """Runnable processes over the last minute; None where the system does not count them."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def busy_cpu_ms() -> float | None:
    """Time that all processors together have worked, or were kept by the host, since the start of the system.

    None where there is no `/proc/stat`.
    """
    if not STAT.is_file():
        return None
    ticks = [int(field) for field in STAT.read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]]
    busy = sum(ticks[:COUNTED_FIELDS]) - sum(ticks[field] for field in IDLE_FIELDS)
    return busy * 1000 / os.sysconf("SC_CLK_TCK")
