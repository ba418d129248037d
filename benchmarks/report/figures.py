"""Figures of the benchmark matrix, from recorded cells alone; SVG and PNG, the same bytes each time.

Each figure is of one machine, but for the comparison of CPUs, where each machine has bars of its own under its name and
what the source paper has published is hatched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.harness.cell_record import Kind
from brain_edge.bench.starts import Bounds
from brain_edge.jobs.pictures.sheet import require_matplotlib
from brain_edge.machine.description import NATIVE

from .source_paper import RANGES, TABLE_4, over_newer_pytorch
from .summaries import accuracy, best_isa

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from benchmarks.harness.cell_record import CellRun

    from .summaries import Figures, OneMachine

COLOURS: Final = {
    "published program": "#222222",
    "PyTorch f32": "#777777",
    "PyTorch, our steps": "#777777",
    "OpenVINO f32": "#4e79a7",
    "package FP32": "#4e79a7",
    "OpenVINO bf16": "#76b7b2",
    "OpenVINO INT8": "#e15759",
    "package INT8": "#e15759",
}
"""One colour an engine, in all figures."""

OTHER: Final = "#9c755f"
COLOUR_OF_NUMBERS: Final = {"f32": "#4e79a7", "bf16": "#76b7b2", "i8": "#e15759"}
LEAST_DICE_SPAN: Final = 0.01
"""Of the axis: differences of a ten-thousandth must not look like differences."""

MARKERS: Final = ("o", "s", "^", "D", "v", "P")
WIDE: Final = (8.0, 4.4)
PAPER_NETWORK: Final = "brainmage"
YARDSTICKS: Final = ("OpenVINO f32", "OpenVINO INT8")
FILE_KINDS: Final[tuple[tuple[str, dict[str, str | None]], ...]] = (("svg", {"Date": None}), ("png", {}))


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure in files.

    Attributes:
        stem: name of its files without ending.
        title, caption: in words; the caption says what it does not show.
    """

    stem: str
    title: str
    caption: str


def draw_all(all_machines: Sequence[OneMachine], folder: Path) -> tuple[Drawn, ...]:
    """Draw every figure that there are figures for.

    Args:
        all_machines: each with its own cells.
        folder: exists.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require_matplotlib()
    drawn = []
    for stem, title, caption, figure in _wanted(all_machines):
        if figure is not None:
            _save(figure, folder, stem)
            drawn.append(Drawn(stem=stem, title=title, caption=caption))
    return tuple(drawn)


def _wanted(all_machines: Sequence[OneMachine]) -> Iterator[tuple[str, str, str, Figure | None]]:
    """Stem, title, caption and figure of each."""
    yield (
        "speed-up-by-cpu",
        "Speed-up over PyTorch by CPU",
        "BrainMaGe's network at 128^3, all physical cores. After the paper's figure of its five CPUs. Solid: "
        "measured here, against PyTorch eager in f32 in the same runs, with the range for a repetition. Hatched: "
        "published by the paper; the row of the i7-1185G7 is Table 4 over PyTorch 1.9.0, the ranges are over a "
        "baseline that the paper does not restate. CPUs that are not shown, such as client hybrids with AVX2-VNNI, "
        "were not measured.",
        speed_up_by_cpu(all_machines),
    )
    for each in all_machines:
        part = each.file_part
        yield (
            f"core-scaling-{part}",
            f"Core scaling, {each.cpu}",
            "Latency by number of threads; the dashed line is the number of physical cores, what lies right of "
            "it is oversubscription. After the paper's figure of core scaling. Means over starts in turn, "
            "logarithmic axis.",
            core_scaling(each),
        )
        yield (
            f"latency-dice-{part}",
            f"Latency against Dice, {each.cpu}",
            "Whole cold processes on the MNI152 head (latency) and mean Dice on real heads against published masks "
            "(accuracy): two different sets of images.",
            latency_against_dice(each),
        )
        yield (
            f"memory-latency-{part}",
            f"Memory against latency, {each.cpu}",
            "Whole cold processes on the MNI152 head: mean latency and median peak resident memory (VmHWM).",
            memory_against_latency(each),
        )
        yield (
            f"roofline-{part}",
            f"Roofline per precision, {each.cpu}",
            "Each network as a whole: multiply-adds over bytes that its layers read and write (each layer's "
            "inputs, weights and outputs once), and multiply-adds over time of the layers, by the numbers that "
            "most of them compute with. Roofs: the fastest small convolution in these numbers, and a copy of a "
            "large array; both measured, neither a data sheet's.",
            roofline(each),
        )
        yield (
            f"isa-{part}",
            f"Speed-up per instruction set, {each.cpu}",
            "BrainMaGe's network, all physical cores; the limit (ONEDNN_MAX_CPU_ISA) holds for PyTorch, too, which "
            "is the 1 of each group. Where the best instructions of the CPU are those of the limit, the two groups "
            "differ by noise alone.",
            per_isa(each),
        )


def speed_up_by_cpu(all_machines: Sequence[OneMachine]) -> Figure | None:
    """Bars: f32 and INT8 over PyTorch, one group a CPU; the paper's own, hatched."""
    ours = [(each, each.figures(run)) for each in all_machines if (run := each.engines(PAPER_NETWORK)) is not None]
    ours = [(each, found) for each, found in ours if all(name in found for name in YARDSTICKS)]
    if not ours:
        return None
    fp32, int8 = (over_newer_pytorch(row)[0] for row in TABLE_4[2:])
    published = [("i7-1185G7 (Table 4)", fp32, int8), *((each.cpus, each.fp32, each.int8) for each in RANGES)]
    figure, axes = _figure((8.0, 1.6 + 0.75 * (len(ours) + len(published))))
    labels = [*(_short(each) for each, _ in ours), *(f"published: {name}" for name, _, _ in published)]
    for row, (_, found) in enumerate(ours):
        for offset, name in ((-0.2, YARDSTICKS[0]), (0.2, YARDSTICKS[1])):
            _bar(axes, row + offset, found[name], COLOURS[name])
    for row, (_, first, second) in enumerate(published, len(ours)):
        for offset, value, name in ((-0.2, first, YARDSTICKS[0]), (0.2, second, YARDSTICKS[1])):
            axes.barh(row + offset, value, 0.36, facecolor="white", edgecolor=COLOURS[name], hatch="///")
            axes.text(value, row + offset, f" {value:.1f}x", va="center", fontsize=8)
    return _named_bars(figure, axes, labels, "times as fast as PyTorch on the same CPU")


def core_scaling(machine: OneMachine) -> Figure | None:
    """Lines: latency by threads, one panel a network, one line an engine."""
    found: dict[str, list[tuple[int, dict[str, Figures]]]] = {}
    for run in machine.last(Kind.NETWORK):
        if run.cell.group == "scaling" and run.cell.isa == NATIVE and (of_run := machine.figures(run)):
            found.setdefault(run.cell.subject, []).append((run.cell.threads, of_run))
    found = {name: sorted(points, key=lambda point: point[0]) for name, points in found.items() if len(points) > 1}
    if not found:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(5.0, 3.2 * len(found)), 3.8), layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, (network, points) in zip(panels, found.items(), strict=True):
        for engine in points[0][1]:
            known = [(threads, of_run[engine]) for threads, of_run in points if engine in of_run]
            axes.plot(
                [threads for threads, _ in known],
                [each.latency_ms / 1000 for _, each in known],
                marker="o",
                color=COLOURS.get(engine, OTHER),
                label=engine,
            )
        axes.axvline(machine.cores, color="#bbbbbb", linestyle="--", linewidth=1)
        axes.set_yscale("log")
        _plain_ticks(axes, [each.latency_ms / 1000 for _, of_run in points for each in of_run.values()])
        axes.set_xticks([threads for threads, _ in points])
        axes.set_title(network, fontsize=10)
        axes.set_xlabel("threads")
        axes.grid(visible=True, axis="y", which="both", color="#eeeeee")
    panels[0].set_ylabel("latency (s)")
    panels[-1].legend(fontsize=8)
    return figure


def latency_against_dice(machine: OneMachine) -> Figure | None:
    """Points: one a contender with both figures."""
    timed = _processes(machine)
    points = []
    for run in machine.last(Kind.ACCURACY):
        of_model = timed.get(run.cell.subject, {})
        for entry in run.measured:
            judged = accuracy(entry)
            if judged is not None and entry.name in of_model:
                points.append((run.cell.subject, entry.name, of_model[entry.name].latency_ms / 1000, judged.dice))
    if not points:
        return None
    figure = _scatter(points, ("latency of a whole process (s)", "mean Dice on real heads"))
    lowest, highest = min(dice for *_, dice in points), max(dice for *_, dice in points)
    half = max(highest - lowest, LEAST_DICE_SPAN) * 0.6
    figure.axes[0].set_ylim((lowest + highest) / 2 - half, (lowest + highest) / 2 + half)
    return figure


def memory_against_latency(machine: OneMachine) -> Figure | None:
    """Points: one a contender of the process cells."""
    points = [
        (model, name, each.latency_ms / 1000, each.peak_bytes / 2**20)
        for model, of_model in _processes(machine).items()
        for name, each in of_model.items()
        if each.peak_bytes
    ]
    if not points:
        return None
    return _scatter(points, ("latency of a whole process (s)", "peak resident memory (MiB)"), from_zero=True)


def roofline(machine: OneMachine) -> Figure | None:
    """Roofs by numbers, and a point for each network and engine."""
    runs = [run for run in machine.last(Kind.ROOFLINE) if run.bytes_per_s and run.peaks]
    if not runs:
        return None
    figure, axes = _figure(WIDE)
    peaks = {kind: max(run.peaks.get(kind, 0.0) for run in runs) for run in runs for kind in run.peaks}
    bytes_per_s = max(run.bytes_per_s or 0.0 for run in runs)
    intensities = [1.0, 1000.0]
    for kind, peak in sorted(peaks.items()):
        knee = peak / bytes_per_s
        axes.plot(
            [intensities[0], knee, intensities[1]],
            [bytes_per_s * intensities[0] / 1e9, peak / 1e9, peak / 1e9],
            color=COLOUR_OF_NUMBERS.get(kind, OTHER),
            label=f"{kind}: at most {peak / 1e9:.0f} G multiply-adds/s",
        )
    models = {run.cell.subject: marker for marker, run in zip(MARKERS * len(runs), runs, strict=False)}
    placed = [
        point
        for run in runs
        for entry in run.measured
        if (point := _network_point(axes, run, entry.name, models[run.cell.subject])) is not None
    ]
    axes.set_xscale("log")
    axes.set_yscale("log")
    _plain_ticks(axes, [*placed, *(peak / 1e9 for peak in peaks.values())])
    axes.set_xlabel(f"multiply-adds per byte moved (slope: {bytes_per_s / 1e9:.1f} GB/s, measured copy)")
    axes.set_ylabel("G multiply-adds per second")
    axes.grid(visible=True, which="both", color="#eeeeee")
    axes.legend(fontsize=8, loc="lower right")
    figure.legend(handles=_shapes(models), fontsize=8, loc="outside right upper", frameon=False)
    return figure


def per_isa(machine: OneMachine) -> Figure | None:
    """Bars: engines over PyTorch under the same limit, one group a limit."""
    found: dict[str, dict[str, Figures]] = {}
    for run in machine.last(Kind.NETWORK):
        is_native = run.cell.isa == NATIVE and run.cell.group == "scaling"
        if run.cell.subject != PAPER_NETWORK or run.cell.threads != machine.cores:
            continue
        if (is_native or run.cell.group == "isa") and (of_run := machine.figures(run)):
            found[run.cell.isa] = of_run
    if not found:
        return None
    found = dict(sorted(found.items(), key=lambda item: item[0] != NATIVE))
    figure, axes = _figure((8.0, 1.6 + 0.75 * len(found)))
    for row, of_run in enumerate(found.values()):
        for offset, name in ((-0.2, YARDSTICKS[0]), (0.2, YARDSTICKS[1])):
            if name in of_run:
                _bar(axes, row + offset, of_run[name], COLOURS[name])
    names = [f"native: {best_isa(machine.machine)}" if isa == NATIVE else f"at most {isa}" for isa in found]
    return _named_bars(figure, axes, names, "times as fast as PyTorch f32 under the same limit")


def _network_point(axes: Axes, run: CellRun, name: str, marker: str) -> float | None:
    """Drawn; G multiply-adds per second, None where there is nothing to draw."""
    entry = run.entry(name)
    if entry is None or not entry.sums:
        return None
    weighted = max(entry.sums, key=lambda each: each.multiply_adds)
    multiply_adds = sum(each.multiply_adds for each in entry.sums)
    moved = sum(each.moved_bytes for each in entry.sums)
    seconds = sum(each.time_ms for each in entry.sums) / 1000
    colour = COLOUR_OF_NUMBERS.get(weighted.numbers, OTHER)
    x, y = multiply_adds / moved, multiply_adds / seconds / 1e9
    axes.scatter([x], [y], marker=marker, color=colour, s=60, zorder=3)
    return y


def _processes(machine: OneMachine) -> dict[str, dict[str, Figures]]:
    """Figures of the whole processes with the published program among them, by model and contender."""
    runs = [run for run in machine.last(Kind.PROCESS) if run.cell.isa == NATIVE and run.cell.group == "published"]
    return {run.cell.subject: found for run in runs if (found := machine.figures(run))}


def _scatter(
    points: Sequence[tuple[str, str, float, float]], labels: tuple[str, str], *, from_zero: bool = False
) -> Figure:
    """Points (model, contender, x, y): shape by model, colour by contender, both said beside the axes."""
    figure, axes = _figure(WIDE)
    models = dict(zip(dict.fromkeys(model for model, _, _, _ in points), MARKERS * len(points), strict=False))
    for model, name, x, y in points:
        axes.scatter([x], [y], color=COLOURS.get(name, OTHER), marker=models[model], s=60, zorder=3)
    contenders = {name: COLOURS.get(name, OTHER) for _, name, _, _ in points}
    figure.legend(handles=_shapes(models, contenders), fontsize=8, loc="outside right upper", frameon=False)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(visible=True, color="#eeeeee")
    axes.margins(x=0.1, y=0.15)
    axes.set_xlim(left=0)
    if from_zero:
        axes.set_ylim(bottom=0)
    return figure


def _shapes(models: Mapping[str, str], contenders: Mapping[str, str] | None = None) -> list[Line2D]:
    """For a legend: the marker of each model, then the colour of each contender."""
    from matplotlib.lines import Line2D

    shapes = [(model, marker, "#bbbbbb") for model, marker in models.items()]
    colours = [(name, "s", colour) for name, colour in (contenders or {}).items()]
    return [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=label)
        for label, marker, colour in (*shapes, *colours)
    ]


def _bar(axes: Axes, position: float, of_one: Figures, colour: str) -> None:
    if of_one.faster is None:  # the first contender is the 1 of the axis
        return
    value = of_one.faster.value
    around = of_one.faster.repetition or Bounds(low=value, high=value)
    reach = [[value - around.low], [around.high - value]]
    axes.barh(position, value, 0.36, color=colour, xerr=reach, error_kw={"linewidth": 1, "capsize": 2})
    axes.text(around.high, position, f"  {value:.2f}x", va="center", fontsize=8)


def _short(machine: OneMachine) -> str:
    seen = machine.machine
    return f"{seen.cpu}, family {seen.family}\n{best_isa(seen)}, {seen.processors} processors"


def _named_bars(figure: Figure, axes: Axes, names: Sequence[str], what: str) -> Figure:
    """The bars with their names, the first on top, and a legend above the axes, where no bar can be."""
    from matplotlib.patches import Patch

    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.axvline(1, color="#777777", linewidth=1)
    axes.set_xlabel(what)
    axes.margins(x=0.12)
    handles = [Patch(color=COLOURS[name], label=name) for name in YARDSTICKS]
    figure.legend(handles=handles, fontsize=8, loc="outside upper right", ncols=len(handles), frameon=False)
    return figure


def _plain_ticks(axes: Axes, values: Sequence[float]) -> None:
    """Numbers such as 0.5, 1, 2, 5 instead of powers of ten."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    steps = [step * 10.0**power for power in range(-3, 4) for step in (1, 2, 5)]
    inside = [step for step in steps if min(values) / 1.5 <= step <= max(values) * 1.5]
    axes.yaxis.set_major_locator(FixedLocator(inside))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def _save(figure: Figure, folder: Path, stem: str) -> None:
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": stem, "svg.fonttype": "none"}):
        for kind, metadata in FILE_KINDS:
            figure.savefig(folder / f"{stem}.{kind}", dpi=110, metadata=metadata, facecolor="white")
