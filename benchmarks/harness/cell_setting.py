"""What all cells are measured with: where results, graphs, packages and heads lie, and whom to tell."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from benchmarks import BENCHMARKS, program
from brain_edge.machine.description import NATIVE, this_machine
from brain_edge.package import NumberFormat, open_package
from brain_edge.package.digest import sha256_of

from .cell_record import Cell, CellEntry, CellRun, Kind
from .contenders import environment
from .in_turn import Rounds, quiet_turns
from .measure import output_of
from .packages import digest_of_code, make_package
from .record import RESULTS, our_versions, this_commit
from .trained import TRAINED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from brain_edge.package import ModelPackage

    from .sample import RunSample

ISA_VARIABLE: Final = "ONEDNN_MAX_CPU_ISA"
PATIENT_ROUNDS: Final = 2
"""Rounds that are run at most, per round that should count."""

GRAPHS: Final = BENCHMARKS / ".graphs"
MAKERS: Final = (
    *(BENCHMARKS / "harness" / name for name in ("rivals.py", "trained.py", "zoo.py")),
    BENCHMARKS / "network_graphs.py",
    *(BENCHMARKS.parent / "conversion/brain_edge_conversion" / name for name in ("convert/rewrites", "networks")),
)
"""The code that decides what the graphs of a network are: made again when it changes."""


@dataclass(frozen=True, kw_only=True)
class MatrixSetting:
    """How a matrix is measured.

    Attributes:
        repetition: the how-manieth time.
        max_disturbance, patience_s: as the matrix declares them; None: every round counts, nothing is waited for.
        results: folder of all machines.
        head, reference: a public head and its brain mask, for the cells that need them (`needs_head`).
        packages: folder with ready packages named MODEL-fp32 and MODEL-int8; None to make them now.
        report: told what is being done.
    """

    repetition: int
    max_disturbance: float | None
    patience_s: float
    head: Path | None = None
    reference: Path | None = None
    results: Path = RESULTS
    packages: Path | None = None
    report: Callable[[str], None] = field(default=lambda _line: None)

    @property
    def given_head(self) -> Path:
        """The head, for the cells that need it."""
        assert self.head is not None, "cells of whole processes and of trained networks are measured with a head"
        return self.head

    def sampled(
        self, cell: Cell, entries: Mapping[str, CellEntry], runs: Mapping[str, Callable[[], RunSample]]
    ) -> dict[str, CellEntry]:
        """The entries of a cell, with the samples of those that ran in turn until enough rounds count."""
        rounds = Rounds(
            counting=cell.rounds,
            most=PATIENT_ROUNDS,
            max_disturbance=self.max_disturbance,
            patience_s=self.patience_s,
        )
        samples = quiet_turns(list(runs.values()), rounds, lambda line: self.report(f"{cell.id}: {line}"))
        timed = zip(runs, samples, strict=True)
        return {**entries, **{name: replace(entries[name], samples=tuple(of_one)) for name, of_one in timed}}

    def package(self, model: str, kind: NumberFormat) -> ModelPackage:
        """The package of a recipe.

        Raises:
            BrainEdgeError: it could not be made, or is not in the folder of ready ones.
        """
        if self.packages is None:
            return make_package(model, kind, self.report)
        return open_package(self.packages / f"{model}-{kind}")


def run_of(
    cell: Cell, setting: MatrixSetting, started: datetime, entries: tuple[CellEntry, ...], **facts: Any
) -> CellRun:
    """A cell with its entries and all that they depend on, on this machine under the limit of the cell."""
    return CellRun(
        cell=cell,
        repetition=setting.repetition,
        started=started,
        commit=this_commit(),
        machine=replace(this_machine(), isa=cell.isa),
        max_disturbance=setting.max_disturbance,
        versions=our_versions(),
        entries=entries,
        **facts,
    )


def environment_of(cell: Cell) -> dict[str, str]:
    """The variables of all processes of a cell: its threads, its limit of the instruction set, no telemetry."""
    chosen = environment(cell.threads) | {"PYTHONWARNINGS": "ignore"}
    chosen.pop(ISA_VARIABLE, None)
    return chosen if cell.isa == NATIVE else chosen | {ISA_VARIABLE: cell.isa}


def graphs_of(cell: Cell, setting: MatrixSetting) -> Path:
    """The folder with the input and the graphs of a network, made now unless the same code has already made it.

    Raises:
        BrainEdgeError: they could not be made.
    """
    more: list[object] = []
    digest = [digest_of_code(*MAKERS), *(our_versions()[name] for name in ("openvino", "nncf", "torch", "onnxruntime"))]
    if cell.subject in TRAINED:
        packages = [setting.package(TRAINED[cell.subject][0], each) for each in (NumberFormat.FP32, NumberFormat.INT8)]
        more = ["--packages", *(each.folder for each in packages), "--head", setting.given_head]
        digest += [*(each.digest for each in packages), sha256_of(setting.given_head)]
    folder = GRAPHS / f"{cell.subject}-{hashlib.sha256(' '.join(digest).encode()).hexdigest()[:12]}"
    if not folder.exists():
        setting.report(f"converting and quantising {cell.subject}")
        scratch = folder.with_suffix(".partial")
        shutil.rmtree(scratch, ignore_errors=True)
        command = program("network_graphs", cell.subject, scratch, *more)
        output_of(command, f"the graphs of {cell.subject} could not be made:\n", environment(cell.threads))
        scratch.rename(folder)
    return folder


def needs_head(cell: Cell) -> bool:
    """Whether a cell is measured with a real head."""
    return cell.kind in (Kind.PROCESS, Kind.MEMORY) or cell.subject in TRAINED


def now() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)
