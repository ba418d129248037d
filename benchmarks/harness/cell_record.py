"""What is kept of one cell of the benchmark matrix: raw samples and all that they depend on; one file a run.

A cell is one interleaved group: all its contenders run in turn, so that ratios to the first of them hold where times do
not. `matrix` and `gpu_baseline` write these files, `report` and `compare` read them. No file name of an image and no
name of a subject is in them.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec

from brain_edge.errors import InputError
from brain_edge.machine.description import Machine

from .sample import RunSample, quiet_rounds

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

T = TypeVar("T")

MINIMUM_ROUNDS: Final = 3
"""Rounds that must count before a ratio is shown with an interval."""

NETWORKS: Final = "*Z-network-*.json"
MOST_BYTES: Final = 16 * 2**20
"""What is recorded or declared here is kilobytes."""


class Kind(StrEnum):
    """What a cell measures."""

    NETWORK = "network"
    """A network alone, warm; each start of an engine a process of its own."""
    PROCESS = "process"
    """Whole cold processes, from an image file to a mask file."""
    MEMORY = "memory"
    """Whole processes under a real limit of their memory."""
    ACCURACY = "accuracy"
    """Dice and HD95 against published masks of real heads; nothing is timed."""
    ROOFLINE = "roofline"
    """Operations, bytes and time of a network by the numbers it computes with; peaks of the machine."""


TIMED: Final = frozenset({Kind.NETWORK, Kind.PROCESS})


class EntryOutcome(StrEnum):
    """What became of a contender."""

    MEASURED = "measured"
    """It has samples, and its answer was checked before."""
    NOT_AVAILABLE = "not available"
    """This machine cannot: its CPU lacks the instructions, or there is no such device."""
    DOES_NOT_FIT = "does not fit"
    """It ended for want of memory under the limit."""
    NOT_SUPPORTED = "not supported"
    """A peer that the matrix allows to be absent could not run this network; `why` is its own word."""
    FAILED = "failed"
    """It crashed, or gave a wrong answer: the cell has failed, and so has the run."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One cell as it is declared.

    Attributes:
        id: unique in the matrix, such as `network/brainmage/engines/native/2-threads`.
        kind: what is measured.
        group: name of the declaration that it comes from.
        subject: network or recipe.
        isa: limit of the instruction set, or `native`.
        threads: of every contender.
        contenders: in turn; the first is what the others are compared with.
        limits_mib: memory limits, of a memory cell.
        rounds: that should count.
        optional: contenders whose failure is shown and does not fail the cell.
    """

    id: str
    kind: Kind
    group: str
    subject: str
    isa: str
    threads: int
    contenders: tuple[str, ...]
    limits_mib: tuple[int, ...] = ()
    rounds: int = 5
    optional: tuple[str, ...] = ()


class CaseScore(msgspec.Struct, frozen=True, kw_only=True):
    """One real head: its number in the cohort, and the mask against the reference; HD95 None where undefined."""

    case: int
    subject: int
    split: str
    dice: float
    hd95_mm: float | None


class NumberSum(msgspec.Struct, frozen=True, kw_only=True):
    """All layers of a network that compute with the same numbers, for one input.

    Attributes:
        numbers: i8, bf16, f32 and so on.
        multiply_adds, moved_bytes, time_ms: sums; bytes are inputs, weights and outputs of each layer, each once.
    """

    numbers: str
    multiply_adds: int
    moved_bytes: int
    time_ms: float


class CellEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One contender of a cell, and what became of it.

    Attributes:
        name: as the matrix declares it.
        precision: in which it computes, in words.
        outcome: measured, or why not.
        why: in words where it was not measured.
        inputs: computed at the same time in one sample; latency per input is latency over this.
        limit_mib: of its memory; None without.
        package_digest: of the package that it runs.
        size_bytes: of the package, or of the files of the graph, that it runs; None where it runs neither, and in
            records that did not note it.
        correlation, largest_error: of its answer with the first contender's (network cells).
        dice_first: of its mask with the first contender's (process cells), or of the foreground (trained networks).
        dice_reference: of its mask with the reference mask, where there is one.
        samples: one a round; sample n of all contenders were taken in the same round.
        scores: one a head (accuracy cells).
        sums: by numbers (roofline cells).
    """

    name: str
    precision: str = ""
    outcome: EntryOutcome = EntryOutcome.MEASURED
    why: str = ""
    inputs: int = 1
    limit_mib: int | None = None
    package_digest: str | None = None
    size_bytes: int | None = None
    correlation: float | None = None
    largest_error: float | None = None
    dice_first: float | None = None
    dice_reference: float | None = None
    samples: tuple[RunSample, ...] = ()
    scores: tuple[CaseScore, ...] = ()
    sums: tuple[NumberSum, ...] = ()


class Commit(msgspec.Struct, frozen=True):
    """What was checked out; `changed` where tracked files differed from it."""

    id: str
    changed: bool


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """What computes where it is not the CPU."""

    name: str
    memory_bytes: int | None = None
    driver: str = ""


class CellRun(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of one cell.

    Attributes:
        cell: as it was declared then.
        repetition: the how-manieth time the matrix is measured; noise between runs is what differs between them.
        device: None for the CPU of the machine.
        max_disturbance: what others may take of the machine in a round that counts, 0 to 1; None: every round counts.
        versions, peer_versions: of our side, and of the environment of the published programs.
        image: of what was measured: voxels of the input; empty where there are several.
        image_sha256: of the image file, or of the manifest of a cohort.
        cohort: its name, of an accuracy cell.
        peaks: multiply-adds per second that convolutions reach, by numbers (roofline cells).
        bytes_per_s: that a copy of a large array moves (roofline cells).
        entries: one per contender.
    """

    schema: Literal[1] = 1
    benchmark: Literal["matrix cell"] = "matrix cell"
    cell: Cell
    repetition: int
    started: datetime
    commit: Commit
    machine: Machine
    device: Device | None = None
    max_disturbance: float | None
    versions: dict[str, str]
    peer_versions: dict[str, str] = {}
    image: tuple[int, ...] = ()
    image_sha256: str | None = None
    cohort: str | None = None
    peaks: dict[str, float] = {}
    bytes_per_s: float | None = None
    entries: tuple[CellEntry, ...]

    @property
    def failures(self) -> tuple[CellEntry, ...]:
        """The contenders that fail the cell."""
        return tuple(entry for entry in self.entries if entry.outcome is EntryOutcome.FAILED)

    @property
    def measured(self) -> tuple[CellEntry, ...]:
        """The contenders with figures."""
        return tuple(entry for entry in self.entries if entry.outcome is EntryOutcome.MEASURED)

    def counted(self) -> tuple[int, ...]:
        """Numbers of the rounds in which no contender was disturbed by more than is allowed."""
        timed = [entry.samples for entry in self.measured if entry.samples]
        return quiet_rounds(timed, self.max_disturbance, self.machine.processors) if timed else ()

    @property
    def in_one_start(self) -> bool:
        """Whether all rounds of each network ran in one process, as before records had passes: rounds say no more."""
        samples = [sample for entry in self.measured for sample in entry.samples]
        return self.cell.kind is Kind.NETWORK and not all(sample.passes_ms for sample in samples)

    def entry(self, name: str) -> CellEntry | None:
        """The contender of that name, where it was measured."""
        return next((entry for entry in self.measured if entry.name == name), None)


def read_as(kind: type[T], path: Path, what: str) -> T:
    """A file, JSON or TOML by its name, with the fields of a type; `what` names it in messages.

    Raises:
        InputError: it cannot be read, is far too large, or is something else.
    """
    decode = msgspec.toml.decode if path.suffix == ".toml" else msgspec.json.decode
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: expected {what}, this file is far too large")
        return decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: expected {what}: {error}") from error


class _Networks(msgspec.Struct, frozen=True, kw_only=True):
    """Networks in turn as they were recorded once, all rounds of each in one process: a cell under another name."""

    network: str
    shape: tuple[int, ...]
    started: datetime
    commit: Commit
    machine: Machine
    threads: int
    max_disturbance: float | None
    versions: dict[str, str]
    entries: tuple[CellEntry, ...]

    def as_cell(self) -> CellRun:
        cell = Cell(
            id=f"{Kind.NETWORK}/{self.network}/engines/{self.machine.isa}/{self.threads}-threads",
            kind=Kind.NETWORK,
            group="engines",
            subject=self.network,
            isa=self.machine.isa,
            threads=self.threads,
            contenders=tuple(entry.name for entry in self.entries),
        )
        return CellRun(
            cell=cell,
            repetition=1,
            started=self.started,
            commit=self.commit,
            machine=self.machine,
            max_disturbance=self.max_disturbance,
            versions=self.versions,
            image=self.shape,
            entries=self.entries,
        )


def read_cell(path: Path) -> CellRun:
    """A cell that was written before.

    Raises:
        InputError: it cannot be read, or is no cell.
    """
    if path.match(NETWORKS):
        return read_as(_Networks, path, "networks in turn").as_cell()
    return read_as(CellRun, path, "a cell of the benchmark matrix")


def cell_files(where: Path) -> tuple[Path, ...]:
    """The cells in a folder and the folders below it, oldest first; a file is taken as it is."""
    if where.is_file():
        return (where,)
    found = {path for pattern in ("*-cell-*.json", NETWORKS) for path in where.rglob(pattern)}
    return tuple(sorted(found, key=lambda path: (path.name, path.parent)))


def read_cells(where: Path) -> tuple[CellRun, ...]:
    """All cells of a folder, oldest first.

    Raises:
        InputError: the folder or a cell in it is missing, or one cannot be read.
    """
    if not where.exists():
        raise InputError(f"{where}: expected a folder of results, found none of that name; correct the path")
    runs = tuple(read_cell(path) for path in cell_files(where))
    if not runs:
        raise InputError(
            f"{where}: expected results of the benchmark matrix (files named *-cell-*.json), found none; "
            "`make bench` records them"
        )
    return runs


def latest(runs: Iterable[CellRun]) -> dict[str, CellRun]:
    """Of each cell the run that was measured last, failed or not: a failure is not hidden by an older success."""
    return {run.cell.id: run for run in sorted(runs, key=lambda run: run.started)}
