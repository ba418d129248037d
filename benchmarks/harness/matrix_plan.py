"""The declared matrix: one TOML, and the cells that it means on a machine. Pure, but for reading the file."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from benchmarks import BENCHMARKS
from brain_edge.errors import InputError
from brain_edge.machine.description import NATIVE
from brain_edge.machine.isa import KNOWN_ISAS

from .cell_record import Cell, Kind, read_as

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

MATRIX: Final = BENCHMARKS / "matrix.toml"
FLAG_OF_ISA: Final = {
    "SSE41": "sse4_1",
    "AVX": "avx",
    "AVX2": "avx2",
    "AVX2_VNNI": "avx_vnni",
    "AVX512_CORE": "avx512bw",
    "AVX512_CORE_VNNI": "avx512_vnni",
    "AVX512_CORE_BF16": "avx512_bf16",
    "AVX512_CORE_AMX": "amx_int8",
}
"""The flag of `/proc/cpuinfo` that tells whether a CPU has an instruction set (oneDNN, "CPU Dispatcher Control")."""


class Suite(StrEnum):
    """Which cells are run."""

    QUICK = "quick"
    """About twenty minutes on two cores."""
    FULL = "full"
    """All that is declared for a release."""
    SMALLEST = "smallest"
    """Seconds: shows that the benchmarks still run."""


class Declaration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Several cells at once; what the fields mean stands at the top of `matrix.toml`."""

    name: str
    kind: Kind
    subjects: tuple[str, ...]
    isa: tuple[str, ...]
    threads: tuple[int | Literal["each", "cores", "twice"], ...]
    contenders: tuple[str, ...]
    rounds: int
    suites: tuple[Suite, ...]
    limits_mib: tuple[int, ...] = ()
    optional: tuple[str, ...] = ()


class Matrix(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All declarations, and when a round counts.

    Attributes:
        max_disturbance: what others may take of the machine during each process of a round, 0 to 1.
        patience_s: how long to wait for an idle machine before a round.
    """

    max_disturbance: float
    patience_s: float
    declaration: tuple[Declaration, ...]


def read_matrix(path: Path = MATRIX) -> Matrix:
    """The matrix in a file.

    Raises:
        InputError: it cannot be read, has a field that is not known, or declares what cannot be.
    """
    matrix = read_as(Matrix, path, "a benchmark matrix")
    for each in matrix.declaration:
        _require_sense(each, path)
    return matrix


def cells(matrix: Matrix, suite: Suite, physical_cores: int) -> tuple[Cell, ...]:
    """The cells of a suite on a machine with that many physical cores, in the order of the file, each once.

    Raises:
        InputError: two declarations of the suite give a cell the same id.
    """
    found: dict[str, Cell] = {}
    for each in matrix.declaration:
        if suite not in each.suites:
            continue
        for cell in _cells_of(each, physical_cores):
            if cell.id in found:
                raise InputError(f"the cell {cell.id} is declared twice in the suite {suite}; give one another name")
            found[cell.id] = cell
    return tuple(found.values())


def thread_counts(declared: Iterable[int | str], physical_cores: int) -> tuple[int, ...]:
    """Numbers of threads in ascending order.

    >>> thread_counts(["each", "twice"], 4)
    (1, 2, 3, 4, 8)
    """
    found: set[int] = set()
    for each in declared:
        if isinstance(each, int):
            found.add(each)
        else:
            words = {"each": range(1, physical_cores + 1), "cores": [physical_cores], "twice": [2 * physical_cores]}
            found.update(words[each])
    return tuple(sorted(found))


def why_isa_not_available(isa: str, flags: Sequence[str]) -> str:
    """Why a CPU with these flags cannot run under this limit; empty where it can."""
    flag = FLAG_OF_ISA.get(isa)
    if isa == NATIVE or flag is None or flag in flags:
        return ""
    return f"this CPU has no {isa} (flag {flag})"


def _cells_of(each: Declaration, physical_cores: int) -> Iterable[Cell]:
    for subject in each.subjects:
        for isa in each.isa:
            for threads in thread_counts(each.threads, physical_cores):
                yield Cell(
                    id=f"{each.kind}/{subject}/{each.name}/{isa}/{threads}-threads",
                    kind=each.kind,
                    group=each.name,
                    subject=subject,
                    isa=isa,
                    threads=threads,
                    contenders=each.contenders,
                    limits_mib=each.limits_mib,
                    rounds=each.rounds,
                    optional=each.optional,
                )


def _require_sense(each: Declaration, path: Path) -> None:
    unknown = [isa for isa in each.isa if isa not in (NATIVE, *KNOWN_ISAS)]
    if unknown:
        raise InputError(f"{path}: {each.name}: {unknown[0]!r} is no instruction set that oneDNN knows")
    if not all((each.subjects, each.isa, each.threads, each.contenders)):
        raise InputError(f"{path}: {each.name}: expected subjects, isa, threads and contenders, one of them is empty")
    missing = [name for name in each.optional if name not in each.contenders]
    if missing:
        raise InputError(f"{path}: {each.name}: {missing[0]!r} is optional and not among the contenders")
    if (each.kind is Kind.MEMORY) != bool(each.limits_mib):
        raise InputError(f"{path}: {each.name}: limits_mib belongs to declarations of memory, and to no other")
