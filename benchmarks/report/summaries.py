"""Recorded cells of the benchmark matrix as figures: means over process starts, ratios, what repetitions show. Pure.

Machines are kept apart: whoever draws or tabulates gets the cells of one machine.
"""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from benchmarks.harness.cell_record import MINIMUM_ROUNDS, TIMED, Kind, latest
from benchmarks.harness.ratios import ratios_of_rounds
from brain_edge.bench.starts import MINIMUM_STARTS, estimate
from brain_edge.machine.description import NATIVE, differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.harness.cell_record import CellEntry, CellRun
    from brain_edge.bench.starts import Estimate
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

    def figures(self, run: CellRun) -> dict[str, Figures]:
        """Of the contenders of a cell, by name, over all of its repetitions."""
        return figures(run, self.on_cpu)

    def ratio(self, run: CellRun, base: str, name: str) -> Estimate:
        """How many times as fast one contender of a cell is as another, over the repetitions that have both."""
        both = [each for each in repetitions(run, self.on_cpu) if each.entry(base) and each.entry(name)]
        return estimate(*(ratios_of_starts(each, base, name) for each in both))

    def engines(self, network: str) -> CellRun | None:
        """The cell of a network with the most engines, native, in one stream, that has figures."""
        found = [run for run in self.last(Kind.NETWORK) if run.cell.subject == network and run.cell.isa == NATIVE]
        timed = [run for run in found if run.counted() and run.cell.group == "engines"]
        return timed[-1] if timed else None


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a contender took, over the rounds that count of all repetitions of a cell.

    Attributes:
        entry: whose, in the last repetition.
        latency_ms: geometric mean over starts, per input.
        faster: than the first contender of its cell; None for that one itself.
        seen: the same ratio in each repetition, oldest first.
        peak_bytes: median of the greatest resident memory; None where unknown.
        memory: as a share of the first contender's.
    """

    entry: CellEntry
    latency_ms: float
    faster: Estimate | None
    seen: tuple[float, ...]
    peak_bytes: float | None
    memory: float | None


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


def repetitions(run: CellRun, runs: Iterable[CellRun]) -> tuple[CellRun, ...]:
    """The last run of each repetition of a cell that may be put together with a run of it, that one last.

    They have as many starts in a round, the same image and the same first contender, and rounds enough.
    """
    question = _question(run)
    found = {each.repetition: each for each in runs if each.cell.id == run.cell.id and _question(each) == question}
    kept = [each for each in found.values() if each.repetition != run.repetition and _has_figures(each)]
    return (*sorted(kept, key=lambda each: each.started), run)


def _question(run: CellRun) -> tuple[object, ...]:
    return run.in_one_start, run.image, run.image_sha256, [entry.name for entry in run.measured if entry.samples][:1]


def _has_figures(run: CellRun) -> bool:
    counted = run.counted()
    return bool(counted) and len(counted) >= min(MINIMUM_ROUNDS, run.cell.rounds)


def figures(run: CellRun, runs: Iterable[CellRun] = ()) -> dict[str, Figures]:
    """Of each contender with samples, by name; empty where too few rounds of the run count for a mean.

    Args:
        run: the last of its cell.
        runs: of the same machine, oldest first, any repetitions of the cell among them.
    """
    if not _has_figures(run):
        return {}
    timed = [entry for entry in run.measured if entry.samples]
    together = repetitions(run, runs)
    return {entry.name: _figures(entry, timed[0], together) for entry in timed}


def _figures(entry: CellEntry, first: CellEntry, runs: Sequence[CellRun]) -> Figures:
    own = [(run, found) for run in runs if (found := run.entry(entry.name)) is not None and found.samples]
    peak, first_peak = peak_bytes(own), peak_bytes([(run, run.entry(first.name) or first) for run, _ in own])
    compared = entry is not first
    ratios = [ratios_of_starts(run, first.name, entry.name) for run, _ in own]
    return Figures(
        entry=entry,
        latency_ms=estimate(*(latencies_ms(run, found) for run, found in own)).value,
        faster=estimate(*ratios) if compared else None,
        seen=tuple(estimate(of_one).value for of_one in ratios),
        peak_bytes=peak,
        memory=peak / first_peak if compared and peak and first_peak else None,
    )


def latencies_ms(run: CellRun, entry: CellEntry) -> list[float]:
    """Per input, of each start in the rounds that count; one mean where all rounds ran in one process."""
    found = [entry.samples[number].latency_ms / entry.inputs for number in run.counted()]
    return [statistics.geometric_mean(found)] if run.in_one_start else found


def ratios_of_starts(run: CellRun, base: str, name: str) -> list[float]:
    """How many times as fast as another contender one is, start by start; both were measured."""
    first, own = run.entry(base), run.entry(name)
    assert first is not None, f"{base} has no samples in {run.cell.id}"
    assert own is not None, f"{name} has no samples in {run.cell.id}"
    return ratios_of_rounds(latencies_ms(run, first), latencies_ms(run, own))


def peak_bytes(taken: Iterable[tuple[CellRun, CellEntry]]) -> float | None:
    """Median of the greatest resident memory (of a GPU: of the device), None where no sample has it."""
    chosen = [entry.samples[number] for run, entry in taken for number in run.counted()]
    known = [sample.device_peak_bytes or sample.peak_rss_bytes for sample in chosen]
    found = [float(each) for each in known if each is not None]
    return statistics.median(found) if found else None


@dataclass(frozen=True, kw_only=True)
class Held:
    """How often the range for a repetition has held the others.

    Attributes:
        cell, contender: whose ratio.
        repetitions: that were measured.
        inside, told: repetitions inside of the range that another one of five starts gave, and how many were told.
        left_out: the same of each repetition by the range from all others together.
    """

    cell: str
    contender: str
    repetitions: int
    inside: int
    told: int
    left_out: int


def held(runs: Sequence[CellRun]) -> tuple[Held, ...]:
    """Of every ratio that was measured in five repetitions or more, on one machine."""
    found = []
    for run in latest(run for run in runs if run.cell.kind in TIMED and run.device is None).values():
        together = repetitions(run, runs)
        for name, of_one in figures(run, runs).items():
            if of_one.faster is not None and len(of_one.seen) >= MINIMUM_STARTS:
                first = next(entry.name for entry in run.measured if entry.samples)
                ratios = [ratios_of_starts(each, first, name) for each in together if each.entry(name) is not None]
                found.append(_held(run.cell.id, name, ratios))
    return tuple(sorted(found, key=lambda each: (each.cell, each.contender)))


def _held(cell: str, contender: str, ratios: Sequence[Sequence[float]]) -> Held:
    means = [estimate(of_one) for of_one in ratios]
    told = [
        one.repetition.low <= other.value <= one.repetition.high
        for one in means
        for other in means
        if one is not other and one.repetition is not None
    ]
    others = [estimate(*ratios[:n], *ratios[n + 1 :], minimum=MINIMUM_STARTS - 1) for n in range(len(ratios))]
    left = [
        rest.repetition.low <= one.value <= rest.repetition.high
        for one, rest in zip(means, others, strict=True)
        if rest.repetition is not None
    ]
    return Held(
        cell=cell,
        contender=contender,
        repetitions=len(ratios),
        inside=sum(told),
        told=len(told),
        left_out=sum(left),
    )


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
