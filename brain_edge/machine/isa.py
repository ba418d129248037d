"""Instruction sets of this CPU, and their limit."""

from __future__ import annotations

import hashlib
import os
import platform
from typing import TYPE_CHECKING, Final

from brain_edge.errors import UsageError
from brain_edge.machine.cpu import CPUINFO

if TYPE_CHECKING:
    from collections.abc import Mapping

ISA_VARIABLES: Final = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Variables that oneDNN inside OpenVINO reads when the process starts; the second is the older name."""

KNOWN_ISAS: Final = (
    *("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2"),
    *("AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16", "AVX512_CORE_FP16"),
    *("AVX512_CORE_AMX", "AVX512_CORE_AMX_FP16", "AVX10_1_512", "AVX10_1_512_AMX", "AVX10_1_512_AMX_FP16"),
    *("AVX10_2_512", "AVX10_2_512_AMX_2", "DEFAULT"),
)
"""Values from oneDNN's documentation, "CPU Dispatcher Control"."""

BF16_ISAS: Final = frozenset(KNOWN_ISAS[KNOWN_ISAS.index("AVX512_CORE_BF16") :])
"""Limits that leave bf16 to a CPU that has it."""

WITHOUT_AVX512: Final = frozenset(KNOWN_ISAS[: KNOWN_ISAS.index("AVX512_CORE")])
"""Limits that leave no AVX-512."""

NEWER_FLAGS: Final = ("avx512", "avx_vnni", "avx10", "amx")
"""Beginnings of the flags of vector instructions that are newer than AVX2, as Linux names them."""


def isa_limit(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the instruction set that the user sets as the limit; None without a limit.

    Raises:
        UsageError: oneDNN does not know the name, and would silently ignore it and use every instruction set.
    """
    for variable in ISA_VARIABLES:
        value = environment.get(variable)
        if value is None:
            continue
        if value.upper() not in KNOWN_ISAS:
            raise UsageError(
                f"{variable}: expected an instruction set that oneDNN knows, got {value!r}; "
                f"set one of {', '.join(KNOWN_ISAS)}"
            )
        return value.upper()
    return None


def limit_allows_bf16() -> bool:
    """Return True if there is no limit, or one with bf16; OpenVINO asks the CPU alone, then finds no kernel."""
    limit = isa_limit()
    return limit is None or limit in BF16_ISAS


def limit_hides_avx512() -> bool:
    """Return True if this CPU has AVX-512 and the limit leaves none of it."""
    return isa_limit() in WITHOUT_AVX512 and "avx512f" in (_line_of_flags() or "").split()


def cpu_fingerprint() -> str:
    """Return a hash of the CPU flags, which distinguishes machines with a hidden CPU model; empty if unknown."""
    flags = _line_of_flags()
    return hashlib.sha256(flags.encode()).hexdigest()[:12] if flags is not None else ""


def newest_is_avx2() -> bool:
    """Return True if this CPU has AVX2, no newer vector instructions, and no limit that the user sets."""
    flags = (_line_of_flags() or "").split()
    return "avx2" in flags and not any(flag.startswith(NEWER_FLAGS) for flag in flags) and isa_limit() is None


def is_x86() -> bool:
    """Return True if this CPU has the instructions of x86, as Linux, macOS or Windows name them."""
    return platform.machine().lower() in ("x86_64", "amd64")


def _line_of_flags() -> str | None:
    if not CPUINFO.is_file():
        return None
    lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
