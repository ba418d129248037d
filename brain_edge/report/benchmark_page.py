"""The recorded cells of the benchmark matrix as a page in Markdown. Pure: measures nothing, draws nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.bench.cells import Kind, Outcome
from brain_edge.evaluate import format_rows
from brain_edge.report.benchmark_costs import cost_rows
from brain_edge.report.benchmark_data import accuracy, best_isa, figures, noise_between_repetitions
from brain_edge.report.benchmark_targets import COLUMNS as TARGET_COLUMNS
from brain_edge.report.benchmark_targets import target_rows
from brain_edge.report.published import CITATION, CPU, RANGES, TABLE_4, over_newer_pytorch
from brain_edge.runtime.machine import NATIVE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brain_edge.bench.cells import Cell, CellEntry, CellRun
    from brain_edge.bench.ratios import Ratio
    from brain_edge.report.benchmark_costs import Costs
    from brain_edge.report.benchmark_data import Accuracy, Figures, OneMachine
    from brain_edge.report.benchmark_figures import Drawn

NOT_MEASURED: Final = "not measured"
HYBRIDS: Final = "AVX2-VNNI"
TABLE_4_COLUMNS: Final = (
    "",
    "engine",
    "Dice",
    "HD95 (mm)",
    "latency",
    "faster than PyTorch",
    "peak memory",
    "of PyTorch",
)
PYTORCH_NAMES: Final = ("PyTorch f32", "PyTorch, our steps")
MOST_WORDS: Final = 160


def benchmark_page(all_machines: Sequence[OneMachine], drawn: Sequence[Drawn], costs: Costs | None) -> str:
    """The whole page.

    Args:
        all_machines: each with its cells.
        drawn: figures that lie beside the page.
        costs: the reader's own prices and powers; None without.
    """
    blocks = [*_head(all_machines), *_comparison(drawn)]
    for each in all_machines:
        blocks += [f"## {each.cpu}", *_machine(each, drawn, costs)]
    return "\n\n".join(blocks) + "\n"


def _head(all_machines: Sequence[OneMachine]) -> Iterator[str]:
    yield "# Benchmarks: CPU configurations, peers, GPU baselines"
    yield (
        "*Written by `brain-edge report` from recorded results; nothing on this page is typed in by hand but what is "
        "marked as published. How to measure and what is recorded: `benchmarks/README.md`.*"
    )
    yield (
        "Contenders of a group run in turn, A B C A B C, so that ratios within a group hold where times do not; a "
        "round counts if other programs took little of the machine. Latencies are medians, ratios have a 95 % "
        "bootstrap interval over rounds. Machines are never mixed: each has tables and figures of its own."
    )
    yield "\n".join(f"- {each.cpu}: {len(each.runs)} recorded runs of cells." for each in all_machines)
    if all(best_isa(each.machine) != HYBRIDS for each in all_machines):
        yield (
            "No CPU with AVX2-VNNI was measured (Intel's client hybrids since Alder Lake), and many hospital "
            "workstations have one: what INT8 gains there is not known from this page."
        )
    yield "A data-centre GPU, where one is shown, is not a workstation's GPU."


def _comparison(drawn: Sequence[Drawn]) -> Iterator[str]:
    yield from _figure(drawn, "speed-up-by-cpu")


def _machine(each: OneMachine, drawn: Sequence[Drawn], costs: Costs | None) -> Iterator[str]:
    part = each.file_part
    yield _facts(each)
    yield "### Accuracy, latency and memory"
    yield _table_4(each)
    yield _table_4_words(each)
    asked = target_rows(each)
    if asked:
        yield "### What was asked"
        yield format_rows(TARGET_COLUMNS, asked)
    yield from _networks(each)
    yield from _figure(drawn, f"latency-dice-{part}")
    yield from _figure(drawn, f"memory-latency-{part}")
    yield from _figure(drawn, f"core-scaling-{part}")
    yield from _scaling(each)
    yield from _figure(drawn, f"isa-{part}")
    yield from _figure(drawn, f"roofline-{part}")
    yield from _ceilings(each)
    yield from _noise(each)
    yield from _costs(each, costs)
    yield from _missing(each)


def _facts(each: OneMachine) -> str:
    last = each.runs[-1]
    versions = ", ".join(
        f"{name} {last.versions[name]}"
        for name in ("python", "openvino", "nncf", "torch", "onnxruntime")
        if name in last.versions
    )
    commits = sorted({f"{run.commit.id[:12]}{' and changes' if run.commit.changed else ''}" for run in each.runs})
    memory = each.machine.memory_bytes
    return (
        f"{each.machine.system}, {'unknown' if memory is None else f'{memory / 2**30:.0f} GiB of'} memory; {versions}; "
        f"commit {', '.join(commits)}; measured from {each.runs[0].started:%Y-%m-%d %H:%M} to "
        f"{last.started:%Y-%m-%d %H:%M} UTC."
    )


# --- the paper's Table 4 ---------------------------------------------------------------------------------------------


def _table_4(each: OneMachine) -> str:
    rows: list[list[str]] = []
    for row in TABLE_4:
        faster, memory = over_newer_pytorch(row)
        first = row.engine.startswith("PyTorch 1.9")
        rows.append(
            [
                f"published, {CPU}",
                row.engine,
                f"{row.dice:.5f}",
                f"{row.hd95_mm:.4f}",
                "not stated",
                "1 (of this column)" if first else f"{faster:.2f}x",
                "not stated",
                "1 (of this column)" if first else f"{memory:.2f}",
            ]
        )
    network = each.engines("brainmage")
    if network is not None:
        rows += _rows_of("BrainMaGe, network alone", network, {}, ("PyTorch f32", "OpenVINO f32", "OpenVINO INT8"))
        rows.append(["BrainMaGe, network alone", *_gpu_cells(each, "brainmage")])
    judged = {run.cell.subject: run for run in each.last(Kind.ACCURACY)}
    timed = {
        run.cell.subject: run
        for run in each.last(Kind.PROCESS)
        if run.cell.group == "published" and run.cell.isa == NATIVE
    }
    for model in dict.fromkeys([*timed, *judged]):
        scores = (
            {entry.name: found for entry in judged[model].measured if (found := accuracy(entry))}
            if model in judged
            else {}
        )
        run = timed.get(model)
        names = run.cell.contenders if run is not None else judged[model].cell.contenders
        rows += _rows_of(f"{model}, whole process", run, scores, names)
        rows.append([f"{model}, whole process", *_gpu_cells(each, model, whole=True)])
    return format_rows(TABLE_4_COLUMNS, rows)


def _rows_of(what: str, run: CellRun | None, scores: Mapping[str, Accuracy], names: Sequence[str]) -> list[list[str]]:
    found = figures(run) if run is not None else {}
    base = next((found[name] for name in PYTORCH_NAMES if name in found), None)
    return [[what, name, *_accuracy_cells(scores.get(name)), *_time_cells(run, name, found, base)] for name in names]


def _accuracy_cells(score: Accuracy | None) -> list[str]:
    if score is None:
        return [NOT_MEASURED, NOT_MEASURED]
    return [f"{score.dice:.4f}", "-" if score.hd95_mm is None else f"{score.hd95_mm:.2f}"]


def _time_cells(run: CellRun | None, name: str, found: Mapping[str, Figures], base: Figures | None) -> list[str]:
    of_one = found.get(name)
    if of_one is None:
        entry = next((each for each in run.entries if each.name == name), None) if run is not None else None
        return [_outcome(entry), "", "", ""]
    is_base = of_one is base or base is None
    return [
        seconds(of_one.latency_ms),
        "1" if is_base else f"{base.latency_ms / of_one.latency_ms:.2f}x" if base else "",
        _mib(of_one.peak_bytes),
        "1"
        if is_base
        else f"{of_one.peak_bytes / base.peak_bytes:.2f}"
        if base and base.peak_bytes and of_one.peak_bytes
        else "",
    ]


def _gpu_cells(each: OneMachine, subject: str, *, whole: bool = False) -> list[str]:
    """A row for the GPU: its device and its best figure, or that there is none."""
    runs = [] if whole else [run for run in each.on_device if run.cell.subject == subject and figures(run)]
    if not runs:
        return ["PyTorch on a GPU", *[NOT_MEASURED] * 3, "", NOT_MEASURED, ""]
    run = runs[-1]
    best = min(figures(run).values(), key=lambda of_one: of_one.latency_ms)
    name = f"{best.entry.name} on {run.device.name if run.device else run.machine.cpu}"
    return [name, NOT_MEASURED, NOT_MEASURED, seconds(best.latency_ms), "", _mib(best.peak_bytes), ""]


def _table_4_words(each: OneMachine) -> str:
    cohorts = [
        f"{run.cell.subject}: {run.cohort}, {found.heads} heads of {found.subjects} people"
        for run in each.last(Kind.ACCURACY)
        if (found := next((score for entry in run.measured if (score := accuracy(entry))), None))
    ]
    judged = "; ".join(cohorts) or "not recorded on this machine"
    ranges = "; ".join(f"{row.cpus} {row.fp32:g}x in FP32 and {row.int8:g}x in INT8" for row in RANGES)
    return (
        f"Published: {CITATION}, Table 4, 132 images of TCGA-GBM, its ratios divided by those of PyTorch 1.9.0 (the "
        f"table itself divides by PyTorch 1.5.1: {', '.join(f'{row.faster:g}' for row in TABLE_4)} times as fast, "
        f"memory {', '.join(f'{row.memory:g}' for row in TABLE_4)}). Over its five CPUs, baseline not restated: "
        f"{ranges}. BrainMaGe's trained weights are not at hand, so its rows have no accuracy; random weights, "
        f"128^3. Accuracy is the mean over real heads against the publishers' masks ({judged}); heads on which a "
        "package was calibrated or searched are named in its own accuracy report. Whole processes: from the MNI152 "
        "head in a file to a mask in a file. The GPU baseline is measured by `benchmarks/gpu_baseline.py`, never "
        "estimated."
    )


# --- networks alone --------------------------------------------------------------------------------------------------


def _networks(each: OneMachine) -> Iterator[str]:
    runs = [
        run for run in each.last(Kind.NETWORK) if run.cell.isa == NATIVE and run.cell.group in ("engines", "streams")
    ]
    if not runs:
        return
    yield "### Networks alone: engines and precisions"
    rows = []
    for run in runs:
        found = figures(run)
        rows += [[*_what(run), entry.name, *_network_cells(entry, found.get(entry.name))] for entry in run.entries]
        rows.append([*_what(run), *_gpu_network(each, run.cell.subject)])
    columns = (
        "network",
        "threads",
        "engine",
        "latency",
        "faster (95 % interval)",
        "peak memory",
        "of PyTorch",
        "correlation",
    )
    yield format_rows(columns, rows)
    yield (
        "Random weights from a fixed seed, a phantom as input, warm; correlation with PyTorch's answer, checked before "
        "anything is timed (INT8 of an untrained network has no accuracy: its correlation is only recorded). With two "
        "streams two inputs are computed at once on the same threads; latency is per input."
    )


def _what(run: CellRun) -> list[str]:
    return [f"{run.cell.subject}, {' x '.join(map(str, run.image[2:]))}", str(run.cell.threads)]


def _network_cells(entry: CellEntry, of_one: Figures | None) -> list[str]:
    if of_one is None:
        return [_outcome(entry), "", "", "", ""]
    return [
        seconds(of_one.latency_ms),
        "" if of_one.faster is None else interval(of_one.faster),
        _mib(of_one.peak_bytes),
        "" if of_one.memory is None else f"{of_one.memory:.2f}",
        "" if entry.correlation is None else f"{entry.correlation:.5f}",
    ]


def _gpu_network(each: OneMachine, network: str) -> list[str]:
    cells = _gpu_cells(each, network)
    return [cells[0], cells[3], "", cells[5], "", ""]


def _scaling(each: OneMachine) -> Iterator[str]:
    runs = [run for run in each.last(Kind.NETWORK) if run.cell.group in ("scaling", "isa")]
    rows: list[list[str]] = []
    for run in sorted(runs, key=lambda run: _order(run.cell)):
        found, what = figures(run), [run.cell.subject, run.cell.isa, str(run.cell.threads)]
        rows += [[*what, entry.name, *_network_cells(entry, found.get(entry.name))[:3]] for entry in run.entries]
    if rows:
        yield "### Threads and instruction sets"
        figures_of_one = ("latency", "faster than PyTorch (95 % interval)", "peak memory")
        yield format_rows(("network", "instructions", "threads", "engine", *figures_of_one), rows)


def _order(cell: Cell) -> tuple[str, bool, str, int]:
    return cell.subject, cell.isa != NATIVE, cell.isa, cell.threads


# --- memory, noise, costs, what is missing ---------------------------------------------------------------------------


def _ceilings(each: OneMachine) -> Iterator[str]:
    runs = each.last(Kind.MEMORY)
    if not runs:
        return
    yield "### Memory ceilings"
    limits = sorted({limit for run in runs for limit in run.cell.limits_mib})
    rows = []
    for run in runs:
        for name in run.cell.contenders:
            by_limit = {entry.limit_mib: entry for entry in run.entries if entry.name == name}
            rows.append([run.cell.subject, name, *(_fits(by_limit.get(limit)) for limit in limits)])
    yield format_rows(("model", "contender", *(f"{limit} MiB" for limit in limits)), rows)
    yield (
        "Whole processes under a real limit (RLIMIT_DATA: heap, private mappings and the stacks of threads; it counts "
        "what is reserved, so it is stricter than resident memory). A cell says what was resident at most, or that the "
        "process ended for want of memory. Not timed."
    )


def _fits(entry: CellEntry | None) -> str:
    if entry is None:
        return ""
    if entry.outcome is Outcome.MEASURED:
        return f"fits, {_mib(entry.samples[0].peak_rss_bytes)}"
    return str(entry.outcome)


def _noise(each: OneMachine) -> Iterator[str]:
    yield "### Noise between runs of the suite"
    found = noise_between_repetitions(each.runs)
    if not found:
        yield f"{NOT_MEASURED}: the suite was run once on this machine (`make bench REPETITION=2` runs it again)."
        return
    worst = max(found, key=lambda noise: noise.change)
    apart = sum(not noise.overlaps for noise in found)
    hours = sorted(noise.hours for noise in found)
    yield (
        f"{len(found)} ratios were measured twice, {hours[0]:.1f} to {hours[-1]:.1f} hours apart. The largest "
        f"change is {worst.change:.1%} ({worst.contender}, {worst.cell}); the median change "
        f"{sorted(noise.change for noise in found)[len(found) // 2]:.1%}. The 95 % intervals of {apart} of them do "
        "not overlap: an interval covers the noise within a run, not all of that between runs. A difference below "
        f"{worst.change:.1%} between two runs of this suite is noise."
    )
    rows = [
        [
            noise.cell,
            noise.contender,
            interval(noise.first),
            interval(noise.second),
            f"{noise.change:.1%}",
            f"{noise.hours:.1f}",
        ]
        for noise in found
    ]
    yield format_rows(("cell", "contender", "faster, first run", "second run", "change", "hours between"), rows)


def _costs(each: OneMachine, costs: Costs | None) -> Iterator[str]:
    yield "### Price and energy per case"
    if costs is None:
        yield (
            "Not computed: prices and powers are the reader's (`--costs FILE`, a TOML such as "
            "`benchmarks/costs.example.toml`)."
        )
        return
    columns, rows = cost_rows(each, costs)
    if not rows:
        yield f"The file of costs names no device of this machine; its names are: {', '.join(costs.names)}."
        return
    yield format_rows(columns, rows)
    yield f"From the reader's own numbers ({costs.source}), not ours."


def _missing(each: OneMachine) -> Iterator[str]:
    """Every contender that has no figures, and why, in the last run of its cell."""
    rows = []
    for kind in Kind:
        for run in each.last(kind):
            counted = run.counted()
            for entry in run.entries:
                too_few = bool(entry.samples) and kind in (Kind.NETWORK, Kind.PROCESS) and not figures(run)
                if too_few:
                    rows.append(
                        [run.cell.id, entry.name, "too few rounds", f"{len(counted)} of {len(entry.samples)} count"]
                    )
                elif entry.outcome is not Outcome.MEASURED and entry.outcome is not Outcome.DOES_NOT_FIT:
                    rows.append([run.cell.id, entry.name, str(entry.outcome), _short(entry.why)])
    yield "### What has no figures, and why"
    yield (
        format_rows(("cell", "contender", "outcome", "why"), rows) if rows else "Nothing: every declared contender ran."
    )


def _figure(drawn: Sequence[Drawn], stem: str) -> Iterator[str]:
    for each in drawn:
        if each.stem == stem:
            yield f"![{each.title}]({each.stem}.png)"
            yield f"*{each.title}. {each.caption}* [SVG]({each.stem}.svg)"


def _outcome(entry: CellEntry | None) -> str:
    return NOT_MEASURED if entry is None or entry.outcome is Outcome.MEASURED else str(entry.outcome)


def _short(why: str) -> str:
    words = " ".join(why.split())
    return words if len(words) <= MOST_WORDS else f"{words[:MOST_WORDS]} ..."


def seconds(latency_ms: float) -> str:
    """With as many digits as mean something."""
    return f"{latency_ms / 1000:.3f} s" if latency_ms < 10_000 else f"{latency_ms / 1000:.2f} s"


def interval(ratio: Ratio) -> str:
    """A ratio and its interval."""
    return f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})x"


def _mib(count: float | None) -> str:
    return "-" if count is None else f"{count / 2**20:.0f} MiB"
