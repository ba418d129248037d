"""Recorded cells of the benchmark matrix as figures: medians over the rounds that count, ratios, noise. Pure.

Machines are kept apart: whoever draws or tabulates gets the cells of one machine.
"""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from benchmarks.harness.cell_record import MINIMUM_ROUNDS, TIMED, Kind, latest
from benchmarks.harness.ratios import Ratio, ratio_of_medians
from brain_edge.machine.description import NATIVE, differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.harness.cell_record import CellEntry, CellRun, Commit
    from brain_edge.machine.description import Machine

ISA_OF_FLAG: Final = (
    ("amx_int8", "AMX"),
    ("avx512_vnni", "AVX512-VNNI"),
    ("avx512bw", "AVX512 without VNNI"),
    ("avx_vnni", "AVX2-VNNI"),
    ("avx2", "AVX2 without VNNI"),
)
"""The best instructions for INT8 first."""


@dataclass(frozen=True)
class OneMachine:
    """All cells of one machine, oldest first, and what it is; `number` tells machines of one name apart."""

    machine: Machine
    runs: tuple[CellRun, ...]
    number: int = 1

    @property
    def cpu(self) -> str:
        """Name of the CPU, with what tells it from others of that name."""
        seen = self.machine
        again = f", machine {self.number} of this name" if self.number > 1 else ""
        numbers = f"family {seen.family}, model {seen.model}"
        return f"{seen.cpu} ({numbers}; {best_isa(seen)}), {seen.processors} processors{again}"

    @property
    def file_part(self) -> str:
        """Name of the machine as a part of file names."""
        return self.machine.name + (f"-{self.number}" if self.number > 1 else "")

    @property
    def cores(self) -> int:
        """Physical cores: the threads that the matrix gives to the engines; the processors where none were measured."""
        return next((run.cell.threads for run in self.runs if run.cell.group == "engines"), self.machine.processors)

    @property
    def on_cpu(self) -> tuple[CellRun, ...]:
        """The cells that the CPU computed."""
        return tuple(run for run in self.runs if run.device is None)

    @property
    def on_device(self) -> tuple[CellRun, ...]:
        """The cells that a GPU computed."""
        return tuple(run for run in self.runs if run.device is not None)

    def last(self, kind: Kind) -> tuple[CellRun, ...]:
        """Of each cell of a kind the last run, in the order of their first appearance."""
        return tuple(latest(run for run in self.on_cpu if run.cell.kind is kind).values())

    def engines(self, network: str) -> CellRun | None:
        """The cell of a network with the most engines, native, in one stream, that has figures."""
        found = [run for run in self.last(Kind.NETWORK) if run.cell.subject == network and run.cell.isa == NATIVE]
        timed = [run for run in found if run.counted() and run.cell.group == "engines"]
        return timed[-1] if timed else None


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a contender took, over the rounds that count.

    Attributes:
        entry: whose.
        latency_ms: median, per input.
        faster: than the first contender of its cell; None for that one itself.
        peak_bytes: median of the greatest resident memory; None where unknown.
        memory: as a share of the first contender's.
        rounds: that count.
    """

    entry: CellEntry
    latency_ms: float
    faster: Ratio | None
    peak_bytes: float | None
    memory: float | None
    rounds: int


def machines(runs: Iterable[CellRun], others: Iterable[Machine] = ()) -> tuple[OneMachine, ...]:
    """The runs by machine: two are one machine only where nothing that matters differs.

    Args:
        runs: in any order.
        others: machines that have no cells, perhaps, and other records; they come last.

    Times that were taken beside other work (`--busy`: for trying, not for quoting) are left out.
    """
    found: list[tuple[Machine, list[CellRun]]] = []
    for run in sorted(runs, key=lambda run: run.started):
        if run.max_disturbance is None and run.device is None and run.cell.kind in TIMED:
            continue
        _cells_of(run.machine, found).append(run)
    for machine in others:
        _cells_of(machine, found)
    counts: Counter[str] = Counter()
    kept = []
    for machine, cells in found:
        counts[machine.name] += 1
        kept.append(OneMachine(machine, tuple(cells), counts[machine.name]))
    return tuple(kept)


def _cells_of(machine: Machine, found: list[tuple[Machine, list[CellRun]]]) -> list[CellRun]:
    native = replace(machine, isa=NATIVE)
    for seen, cells in found:
        if not differences(seen, native):
            return cells
    found.append((native, []))
    return found[-1][1]


def best_isa(machine: Machine) -> str:
    """The best instructions for INT8 that a CPU has, in words."""
    return next((words for flag, words in ISA_OF_FLAG if flag in machine.flags), "neither AVX2 nor newer")


def figures(run: CellRun) -> dict[str, Figures]:
    """Of each contender with samples, by name; empty where too few rounds count for a median to mean something."""
    counted = run.counted()
    if len(counted) < min(MINIMUM_ROUNDS, run.cell.rounds) or not counted:
        return {}
    timed = [entry for entry in run.measured if entry.samples]
    first = timed[0]
    return {entry.name: _figures(entry, first, counted) for entry in timed}


def _figures(entry: CellEntry, first: CellEntry, counted: Sequence[int]) -> Figures:
    own, others = ([each.samples[number].latency_ms / each.inputs for number in counted] for each in (entry, first))
    peak, first_peak = peak_bytes(entry, counted), peak_bytes(first, counted)
    compared = entry is not first
    return Figures(
        entry=entry,
        latency_ms=statistics.median(own),
        faster=ratio_of_medians(others, own) if compared else None,
        peak_bytes=peak,
        memory=peak / first_peak if compared and peak and first_peak else None,
        rounds=len(counted),
    )


def peak_bytes(entry: CellEntry, counted: Sequence[int]) -> float | None:
    """Median of the greatest resident memory (of a GPU: of the device), None where no sample has it."""
    chosen = [entry.samples[number] for number in counted]
    known = [sample.device_peak_bytes or sample.peak_rss_bytes for sample in chosen]
    found = [float(each) for each in known if each is not None]
    return statistics.median(found) if found else None


@dataclass(frozen=True, kw_only=True)
class Noise:
    """One ratio of a cell in two repetitions.

    Attributes:
        cell, contender: which.
        first, second: times as fast as the first contender, in either.
        hours: between them.
        commits: of either; what lies between two of them is in the difference, too.
    """

    cell: str
    contender: str
    first: Ratio
    second: Ratio
    hours: float
    commits: tuple[Commit, Commit]

    @property
    def is_noise_alone(self) -> bool:
        """Whether both ran the same code."""
        return self.commits[0] == self.commits[1] and not self.commits[0].changed

    @property
    def change(self) -> float:
        """Relative, 0 at best; of the same size upwards and downwards."""
        return max(self.first.value, self.second.value) / min(self.first.value, self.second.value) - 1

    @property
    def overlaps(self) -> bool:
        """Whether the two intervals have a ratio in common."""
        return self.first.low <= self.second.high and self.second.low <= self.first.high


def noise_between_repetitions(runs: Iterable[CellRun]) -> tuple[Noise, ...]:
    """The ratios of every cell that was measured in two repetitions: the last two of them that have figures."""
    by_cell: dict[str, dict[int, CellRun]] = {}
    for run in runs:
        if run.device is None and run.cell.kind in TIMED and figures(run):
            by_cell.setdefault(run.cell.id, {})[run.repetition] = run
    found = []
    for cell, repetitions in by_cell.items():
        if len(repetitions) < 2:
            continue
        one, other = sorted(repetitions.values(), key=lambda run: run.started)[-2:]
        before, after = figures(one), figures(other)
        hours = abs((other.started - one.started).total_seconds()) / 3600
        for name in before.keys() & after.keys():
            first, second = before[name].faster, after[name].faster
            if first is not None and second is not None:
                commits = one.commit, other.commit
                found.append(Noise(cell=cell, contender=name, first=first, second=second, hours=hours, commits=commits))
    return tuple(sorted(found, key=lambda each: (each.cell, each.contender)))


@dataclass(frozen=True, kw_only=True)
class AccuracyMeans:
    """Means over real heads; HD95 over those where it is defined.

    Attributes:
        worst_dice: of a head.
        heads, subjects: how many.
    """

    dice: float
    hd95_mm: float | None
    worst_dice: float
    heads: int
    subjects: int


def accuracy(entry: CellEntry) -> AccuracyMeans | None:
    """The means of a contender of an accuracy cell; None without scores."""
    if not entry.scores:
        return None
    distances = [score.hd95_mm for score in entry.scores if score.hd95_mm is not None]
    dices = [score.dice for score in entry.scores]
    return AccuracyMeans(
        dice=statistics.mean(dices),
        hd95_mm=statistics.mean(distances) if distances else None,
        worst_dice=min(dices),
        heads=len(entry.scores),
        subjects=len({score.subject for score in entry.scores}),
    )
