"""Description of the measured machine: all that distinguishes it, and nothing that names its owner."""

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
    """Machine of a benchmark; two runs are comparable only if all fields agree.

    Attributes:
        name: folder of its results, made of the CPU and the number of its processors.
        cpu: brand string of the vendor.
        family, model, stepping: numbers of the vendor; -1 if the system does not report them. Virtual machines often
            hide the brand, but never these numbers.
        processors: number of processors that this process may use.
        flags: flags of the CPU, sorted.
        isa: limit set by `ONEDNN_MAX_CPU_ISA`, or `native`.
        memory_bytes: memory of the machine; None if unknown.
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
    """Return the machine on which this process runs.

    Raises:
        UsageError: the variable that limits the instruction set has an unknown value.
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
    """Return the differences of two machines in words; without differences, their figures are comparable."""
    named = (
        (field, getattr(first, field), getattr(second, field))
        for field in Machine.__struct_fields__
        if field not in ("name", "flags")
    )
    words = [f"{field} {one} and {other}" for field, one, other in named if one != other]
    flags = set(first.flags) ^ set(second.flags)
    return (*words, *([f"{len(flags)} flags of the CPU"] if flags else []))


def arithmetic_of(machine: Machine) -> str:
    """Return the facts that decide the results and speed of a machine: CPU and instructions, not memory or kernel."""
    return f"{machine.name}, stepping {machine.stepping}, {machine.isa}: {' '.join(machine.flags)}"


def folder_name(cpu: str, family: int, model: int, processors: int) -> str:
    """Return a folder name of lower-case words and numbers, joined by hyphens.

    >>> folder_name("AMD EPYC", 26, 2, 2)
    'amd-epyc-family-26-model-2-2-processors'
    """
    words = f"{cpu} family {family} model {model} {processors} processors"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
