"""The machine that is measured: all that tells it from another one, and nothing that names its owner."""

from __future__ import annotations

import os
import platform
import re
from typing import Final

import msgspec

from brain_edge.machine.cpu import CPUINFO, processor_fields
from brain_edge.machine.isa import isa_limit
from brain_edge.machine.process import total_bytes

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
    """The machine that this process runs on.

    Raises:
        UsageError: the variable that limits the instruction set names none.
    """
    fields = processor_fields(CPUINFO.read_text(encoding="utf-8"))[0] if CPUINFO.is_file() else {}
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
        isa=isa_limit() or NATIVE,
        memory_bytes=total_bytes(),
        system=f"{platform.system()} {platform.release()}",
    )


def differences(first: Machine, second: Machine) -> tuple[str, ...]:
    """What of two machines differs, in words; their figures are comparable where this is empty."""
    named = (
        (field, getattr(first, field), getattr(second, field))
        for field in Machine.__struct_fields__
        if field not in ("name", "flags")
    )
    words = [f"{field} {one} and {other}" for field, one, other in named if one != other]
    flags = set(first.flags) ^ set(second.flags)
    return (*words, *([f"{len(flags)} flags of the CPU"] if flags else []))


def arithmetic_of(machine: Machine) -> str:
    """What decides the numbers that a machine computes, and how fast: CPU and instructions, not memory or kernel."""
    return f"{machine.name}, stepping {machine.stepping}, {machine.isa}: {' '.join(machine.flags)}"


def folder_name(cpu: str, family: int, model: int, processors: int) -> str:
    """Lower-case words and numbers, joined by hyphens.

    >>> folder_name("AMD EPYC", 26, 2, 2)
    'amd-epyc-family-26-model-2-2-processors'
    """
    words = f"{cpu} family {family} model {model} {processors} processors"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
