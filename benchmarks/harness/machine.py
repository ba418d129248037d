"""The machine that was measured: everything a reader needs to tell it from theirs, and nothing that names its owner."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Final

import msgspec

CPUINFO: Final = Path("/proc/cpuinfo")
MEMINFO: Final = Path("/proc/meminfo")
STAT: Final = Path("/proc/stat")
IDLE_FIELDS: Final = (3, 4)
"""Of a line of `/proc/stat`: idle, and waiting for input or output (proc(5))."""

COUNTED_FIELDS: Final = 8
"""user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in user and nice already."""

ISA_VARIABLE: Final = "ONEDNN_MAX_CPU_ISA"
"""What oneDNN (inside OpenVINO and PyTorch) obeys; it reads the variable when a process starts."""

NATIVE: Final = "native"


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as a benchmark sees it; two runs are comparable only where all of this is the same.

    Attributes:
        name: folder of its results, made of the CPU and the number of its processors.
        cpu: brand string of the vendor.
        family, model, stepping: numbers of the vendor's; -1 where the system does not say. Virtual machines often
            hide the brand, never these.
        processors: that this process may use.
        flags: of the CPU, sorted.
        isa: limit set by `ONEDNN_MAX_CPU_ISA`, or `native`.
        memory_bytes: of the machine, None where unknown.
        system: operating system and kernel.
    """

    name: str
    cpu: str
    family: int
    model: int
    stepping: int
    processors: int
    flags: tuple[str, ...]
    isa: str
    memory_bytes: int | None
    system: str


def this_machine() -> Machine:
    """The machine that this process runs on."""
    fields = first_processor(CPUINFO.read_text(encoding="utf-8")) if CPUINFO.is_file() else {}
    cpu = fields.get("model name") or platform.processor() or platform.machine()
    family, model, stepping = (int(fields.get(key, -1)) for key in ("cpu family", "model", "stepping"))
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        name=folder_name(cpu, family, model, processors),
        cpu=cpu,
        family=family,
        model=model,
        stepping=stepping,
        processors=processors,
        flags=tuple(sorted(fields.get("flags", fields.get("Features", "")).split())),
        isa=os.environ.get(ISA_VARIABLE, NATIVE),
        memory_bytes=_memory_bytes(),
        system=f"{platform.system()} {platform.release()}",
    )


def first_processor(cpuinfo: str) -> dict[str, str]:
    """The fields of the first processor in a Linux `/proc/cpuinfo`."""
    first = cpuinfo.strip().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def folder_name(cpu: str, family: int, model: int, processors: int) -> str:
    """Lower-case words and numbers, joined by hyphens.

    >>> folder_name("AMD EPYC", 26, 2, 2)
    'amd-epyc-family-26-model-2-2-processors'
    """
    words = f"{cpu} family {family} model {model} {processors} processors"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


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


def _memory_bytes() -> int | None:
    if not MEMINFO.is_file():
        return None
    total = re.search(r"^MemTotal:\s+(\d+) kB", MEMINFO.read_text(encoding="utf-8"), re.MULTILINE)
    return int(total.group(1)) * 1024 if total else None
