"""What this CPU can compute with, and what it is allowed to."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final

from brain_edge.errors import UsageError
from brain_edge.machine.cpu import CPUINFO

if TYPE_CHECKING:
    from collections.abc import Mapping

ISA_VARIABLES: Final = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""What oneDNN inside OpenVINO reads when the process starts; the second is its older name."""

KNOWN_ISAS: Final = (
    *("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2"),
    *("AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16", "AVX512_CORE_FP16"),
    *("AVX512_CORE_AMX", "AVX512_CORE_AMX_FP16", "AVX10_1_512", "AVX10_1_512_AMX", "AVX10_1_512_AMX_FP16"),
    *("AVX10_2_512", "AVX10_2_512_AMX_2", "DEFAULT"),
)
"""oneDNN's documentation, "CPU Dispatcher Control"."""


def isa_limit(environment: Mapping[str, str] = os.environ) -> str | None:
    """The instruction set that the user allows at most; None where nothing is said.

    Raises:
        UsageError: a name that oneDNN does not know: it would ignore it without a word and use everything.
    """
    for variable in ISA_VARIABLES:
        value = environment.get(variable)
        if value is None:
            continue
        if value.upper() not in KNOWN_ISAS:
            raise UsageError(
                f"{variable} is {value!r}, which is no instruction set that oneDNN knows and would be ignored; "
                f"expected one of {', '.join(KNOWN_ISAS)}"
            )
        return value.upper()
    return None


def cpu_fingerprint() -> str:
    """A hash of the flags of the CPU, which tells machines apart whose vendor hides the model; empty where unknown."""
    if not CPUINFO.is_file():
        return ""
    lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(flags.encode()).hexdigest()[:12]
