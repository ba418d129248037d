"""Whether something became slower between two recorded runs of the benchmark matrix.

Times of two runs are not compared: the machine had other clocks, other neighbours. Ratios to the first contender
(PyTorch) of the same cell are, because that one ran in turn with the others. A ratio is called lower where neither run
expects the other: each mean lies outside of the range in which, by the starts of the other run, a repetition lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from msgspec.structs import replace

from benchmarks.harness.cell_record import TIMED, latest, read_cells
from benchmarks.report.summaries import figures
from brain_edge.bench.starts import Change
from brain_edge.errors import BrainEdgeError, InputError
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.machine.description import NATIVE, differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.harness.cell_record import CellRun
    from brain_edge.bench.starts import Estimate
    from brain_edge.machine.description import Machine

COLUMNS: Final = ("cell", "contender", "faster in A", "faster in B", "B / A", "verdict")
VERDICTS: Final = {Change.LOWER: "SLOWER", Change.HIGHER: "faster"}
RESULTS: Final = click.Path(path_type=Path)


@click.command()
@click.argument("first", metavar="A", type=RESULTS)
@click.argument("second", metavar="B", type=RESULTS)
def main(first: Path, second: Path) -> None:
    """Whether something became slower from the results A to the results B (files or folders of one machine).

    Exit code 1 where a ratio to the first contender of its cell became lower than noise explains.
    """
    found = changes(read_cells(first), read_cells(second))
    click.echo(changes_table(found))
    worse = slower(found)
    if worse:
        least = min(worse, key=lambda each: each.quotient)
        raise BrainEdgeError(
            f"{len(worse)} of {len(found)} ratios to the first contender of their cell became lower than noise "
            f"explains, most of all that of {least.contender} in {least.cell}: {least.quotient:.2f} of what it was"
        )


@dataclass(frozen=True, kw_only=True)
class RatioChange:
    """A ratio to the first contender in two runs.

    Attributes:
        cell, contender: which.
        first, second: times as fast as the first contender, in A and in B.
    """

    cell: str
    contender: str
    first: Estimate
    second: Estimate

    @property
    def quotient(self) -> float:
        """Of B to A; below 1 it became slower."""
        return self.second.value / self.first.value

    @property
    def change(self) -> Change:
        """Lower, higher, or what repetitions differ by."""
        return self.first.change_to(self.second)


def changes(first: Sequence[CellRun], second: Sequence[CellRun]) -> tuple[RatioChange, ...]:
    """What differs between two sets of cells of one machine.

    Raises:
        InputError: they are of different machines, a cell compares with another contender or on another image, or they
            have no contender in common that was measured in both.
    """
    apart = differences(_machine(first), _machine(second))
    if apart:
        raise InputError(
            "the results are of different machines, whose ratios are not comparable: "
            f"{'; '.join(apart)}; measure both on one machine"
        )
    earlier, later = (latest(_timed(runs)) for runs in (first, second))
    for cell in earlier.keys() & later.keys():
        _require_same_question(earlier[cell], later[cell])
    before, after = (ratios(runs) for runs in (first, second))
    common = [key for key in before if key in after]
    if not common:
        raise InputError("the results have no cell in common that was measured in both with enough rounds that count")
    return tuple(RatioChange(cell=key[0], contender=key[1], first=before[key], second=after[key]) for key in common)


def ratios(runs: Sequence[CellRun]) -> dict[tuple[str, str], Estimate]:
    """How many times as fast as the first contender, by cell and contender, over the starts of all repetitions."""
    return {
        (run.cell.id, name): each.faster
        for run in latest(_timed(runs)).values()
        for name, each in figures(run, runs).items()
        if each.faster is not None
    }


def changes_table(found: Sequence[RatioChange]) -> str:
    """The changes as a table, those that became slower first."""
    rows = [
        [each.cell, each.contender, f"{each.first}x", f"{each.second}x", f"{each.quotient:.3f}", _verdict(each)]
        for each in sorted(found, key=lambda each: (each.change is not Change.LOWER, each.quotient))
    ]
    return "\n\n".join(
        [
            markdown_table(COLUMNS, rows),
            "Ratios to the first contender of the same cell and run, with 95 % intervals. Slower or faster is said "
            "where each lies outside of the range in which, by the other, a repetition lies; the rest is noise.",
        ]
    )


def _verdict(each: RatioChange) -> str:
    return VERDICTS.get(each.change, str(each.change))


def slower(found: Iterable[RatioChange]) -> tuple[RatioChange, ...]:
    """Those that became slower."""
    return tuple(each for each in found if each.change is Change.LOWER)


def _require_same_question(first: CellRun, second: CellRun) -> None:
    base = [next((entry.name for entry in run.measured if entry.samples), "none") for run in (first, second)]
    if base[0] != base[1]:
        raise InputError(
            f"{first.cell.id}: the ratios are to {base[0]} in the first result and to {base[1]} in the second, and are "
            "not comparable; measure that cell again"
        )
    if (first.image, first.image_sha256) != (second.image, second.image_sha256):
        raise InputError(f"{first.cell.id}: the two results are of different images; measure both on one")


def _timed(runs: Iterable[CellRun]) -> list[CellRun]:
    return [run for run in runs if run.cell.kind in TIMED and run.device is None]


def _machine(runs: Sequence[CellRun]) -> Machine:
    """The one machine of all cells, whatever limits of the instruction set they ran under."""
    native = [replace(run.machine, isa=NATIVE) for run in runs]
    mixed = [words for each in native[1:] for words in differences(native[0], each)]
    if mixed:
        raise InputError(f"one of the two results is of several machines ({mixed[0]}); name the folder of one machine")
    return native[0]
