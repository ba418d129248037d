"""Tables of the benchmark report about accuracy, latency, memory: as in the source paper, and by engine. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.harness.cell_record import Kind
from benchmarks.harness.engines import OURS, is_rival
from benchmarks.harness.packages import MAX_DICE_DROP
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.machine.description import NATIVE

from .formatting import NO_PYTORCH, NOT_MEASURED, mib, outcome, seconds
from .source_paper import CITATION, CPU, RANGES, TABLE_4, over_newer_pytorch
from .summaries import accuracy, figures

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from benchmarks.harness.cell_record import Cell, CellEntry, CellRun

    from .recipe_age import Ages
    from .summaries import AccuracyMeans, Figures, OneMachine

TABLE_4_COLUMNS: Final = (
    *("", "engine", "Dice", "HD95 (mm)", "latency", "faster than PyTorch", "peak memory", "of PyTorch", "size"),
)
PYTORCH_NAMES: Final = ("PyTorch f32", "PyTorch, our steps")
TRAINED_GROUPS: Final = ("trained",)
RIVAL_GROUPS: Final = ("engines", *TRAINED_GROUPS)
NETWORK_GROUPS: Final = (*RIVAL_GROUPS, "chapter", "streams")
RIVAL_COLUMNS: Final = ("network", "INT8", "over PyTorch f32", "fastest rival", "its agreement", "over that rival")
FASTER: Final = ("faster than PyTorch (95 %)", "a repetition", "seen in repetitions")


# --- the paper's Table 4 ---------------------------------------------------------------------------------------------


def table_4(each: OneMachine, ages: Ages) -> str:
    """The source paper's Table 4 as published, then the same figures of this machine."""
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
                "not stated",
            ]
        )
    network = each.engines("brainmage")
    if network is not None:
        what = ages.marked("brainmage", network.started).replace("brainmage", "BrainMaGe, network alone")
        rows += _rows_of(each, what, network, {}, ("PyTorch f32", "OpenVINO f32", "OpenVINO INT8"))
        rows.append(["BrainMaGe, network alone", *_gpu_cells(each, "brainmage"), ""])
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
        oldest = min(found.started for found in (run, judged.get(model)) if found is not None)
        names = run.cell.contenders if run is not None else judged[model].cell.contenders
        rows += _rows_of(each, f"{ages.marked(model, oldest)}, whole process", run, scores, names)
        rows.append([f"{model}, whole process", *_gpu_cells(each, model, whole=True), ""])
    return markdown_table(TABLE_4_COLUMNS, rows)


def _rows_of(
    each: OneMachine, what: str, run: CellRun | None, scores: Mapping[str, AccuracyMeans], names: Sequence[str]
) -> list[list[str]]:
    found = each.figures(run) if run is not None else {}
    base = next((found[name] for name in PYTORCH_NAMES if name in found), None)
    return [
        [what, name, *_accuracy_cells(scores.get(name)), *_time_cells(run, name, found, base), _size(run, name)]
        for name in names
    ]


def _size(run: CellRun | None, name: str) -> str:
    """Size of what a contender runs; empty where it has no file of its own, or an older record does not say."""
    entry = None if run is None else run.entry(name)
    return "" if entry is None else mib(entry.size_bytes)


def _accuracy_cells(score: AccuracyMeans | None) -> list[str]:
    if score is None:
        return [NOT_MEASURED, NOT_MEASURED]
    return [f"{score.dice:.4f}", "-" if score.hd95_mm is None else f"{score.hd95_mm:.2f}"]


def _time_cells(run: CellRun | None, name: str, found: Mapping[str, Figures], base: Figures | None) -> list[str]:
    of_one = found.get(name)
    if of_one is None:
        entry = next((each for each in run.entries if each.name == name), None) if run is not None else None
        return [outcome(entry), "", "", ""]
    faster, memory = NO_PYTORCH, NO_PYTORCH
    if of_one is base:
        faster, memory = "1", "1"
    elif base is not None:
        faster = f"{base.latency_ms / of_one.latency_ms:.2f}x"
        memory = f"{of_one.peak_bytes / base.peak_bytes:.2f}" if base.peak_bytes and of_one.peak_bytes else ""
    return [seconds(of_one.latency_ms), faster, mib(of_one.peak_bytes), memory]


def _gpu_cells(each: OneMachine, subject: str, *, whole: bool = False) -> list[str]:
    """A row for the GPU: its device and its best figure, or that there is none."""
    runs = [] if whole else [run for run in each.on_device if run.cell.subject == subject and figures(run)]
    if not runs:
        return ["PyTorch on a GPU", *[NOT_MEASURED] * 3, "", NOT_MEASURED, ""]
    run = runs[-1]
    best = min(figures(run).values(), key=lambda of_one: of_one.latency_ms)
    name = f"{best.entry.name} on {run.device.name if run.device else run.machine.cpu}"
    return [name, NOT_MEASURED, NOT_MEASURED, seconds(best.latency_ms), "", mib(best.peak_bytes), ""]


def table_4_words(each: OneMachine) -> str:
    """What the rows of that table are of, and what they are not."""
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
        "head in a file to a mask in a file. Size: of the package, or of the graph with its weights, where the record "
        "notes it. The GPU baseline is measured by `python -m benchmarks gpu_baseline`, "
        "never estimated."
    )


# --- networks alone --------------------------------------------------------------------------------------------------


def networks(each: OneMachine, ages: Ages) -> Iterator[str]:
    """Every engine on every network, on all physical cores; then ours over the strongest of the others."""
    runs = [run for run in each.last(Kind.NETWORK) if run.cell.isa == NATIVE and run.cell.group in NETWORK_GROUPS]
    if not runs:
        return
    yield "### Networks alone: engines and precisions"
    rows = []
    for run in runs:
        found, what = each.figures(run), _what(run, ages)
        rows += [[*what, entry.name, *_network_cells(entry, found.get(entry.name))] for entry in run.entries]
        gpu = _gpu_cells(each, run.cell.subject)
        rows.append([*what, gpu[0], gpu[3], "", "", "", gpu[5], "", ""])
    columns = (
        *("network", "threads", "engine", "latency", *FASTER),
        *("peak memory", "of PyTorch", "agreement with PyTorch"),
    )
    yield markdown_table(columns, rows)
    yield (
        "Random weights from a fixed seed and a phantom as input, or, where agreement is a Dice, published weights and "
        "what the network sees of the MNI152 head: Dice of its foreground with that of PyTorch f32, before "
        "post-processing. Else it is the correlation of the answers; INT8 and bf16 of an untrained network have no "
        "accuracy. Warm passes, each start in a process of its own. How the others are set up: "
        "`benchmarks/harness/engines.py`. With two streams two inputs are computed at once on the same threads; "
        "latency is per input."
    )
    if table := over_rivals(each, ages):
        yield "### Over PyTorch, and over the strongest rival"
        yield table
        yield RIVAL_WORDS


def over_rivals(each: OneMachine, ages: Ages) -> str:
    """A table: INT8 over PyTorch f32, and over the fastest rival that keeps the budget; empty without any."""
    rows = _rival_rows(each, ages, RIVAL_GROUPS)
    return markdown_table(RIVAL_COLUMNS, rows) if rows else ""


def trained_in_words(each: OneMachine, ages: Ages) -> str:
    """The same of networks with published weights, in one sentence; empty without any."""
    words = [
        f"{what.partition(',')[0]} {over_pytorch} as fast as PyTorch f32 and {over_rival} as fast as its fastest "
        f"rival, {rival.rpartition(', of')[0]} ({int8} with PyTorch)"
        for what, int8, over_pytorch, rival, _, over_rival in _rival_rows(each, ages, TRAINED_GROUPS)
    ]
    if not words:
        return ""
    return f"Networks alone, INT8 with published weights: {'; '.join(words)}. {each.cpu}."


def _rival_rows(each: OneMachine, ages: Ages, groups: Collection[str]) -> list[list[str]]:
    runs = [run for run in each.last(Kind.NETWORK) if run.cell.isa == NATIVE and run.cell.group in groups]
    return [row for run in runs if (row := _rival_row(each, run, ages))]


RIVAL_WORDS: Final = (
    "A rival does not compute with OpenVINO, has any precision, and keeps the budget. With published weights, the "
    f"budget is a Dice of at least {1 - MAX_DICE_DROP:g} with PyTorch f32; with random weights, accuracy is not "
    "judged. "
    "*Of N*: number of measured rivals, PyTorch f32 included; older records lack INT8 and bf16 of rivals. Ratios have "
    "the 95 % interval of their mean over process starts, or the number of starts if there are fewer than five."
)


def _rival_row(each: OneMachine, run: CellRun, ages: Ages) -> list[str]:
    """Empty where nothing of ours, or nothing but PyTorch f32, has figures."""
    found = each.figures(run)
    rivals = [name for name, of_one in found.items() if is_rival(name) and keeps_budget(of_one.entry)]
    if OURS not in found or len(rivals) < 2:
        return []
    fastest = min(rivals, key=lambda name: found[name].latency_ms)
    return [
        _what(run, ages)[0],
        _int8_words(found[OURS].entry),
        f"{found[OURS].faster}x",
        f"{fastest}, of {len(rivals)}",
        agreement(found[fastest].entry) if found[fastest].entry.dice_first is not None else "not judged",
        f"{each.ratio(run, fastest, OURS)}x",
    ]


def _int8_words(entry: CellEntry) -> str:
    if entry.dice_first is None:
        return "accuracy not judged"
    return agreement(entry) + ("" if keeps_budget(entry) else ", misses the budget")


def keeps_budget(entry: CellEntry) -> bool:
    """Whether the mask agrees with that of PyTorch f32 within the budget; with random weights it is not judged."""
    return entry.dice_first is None or entry.dice_first >= 1 - MAX_DICE_DROP


def agreement(entry: CellEntry) -> str:
    """With PyTorch f32: Dice of trained networks, correlation of random ones."""
    if entry.dice_first is not None:
        return f"Dice {entry.dice_first:.4f}"
    return "" if entry.correlation is None else f"{entry.correlation:.5f}"


def _what(run: CellRun, ages: Ages) -> list[str]:
    subject = ages.marked(run.cell.subject, run.started)
    return [f"{subject}, {' x '.join(map(str, run.image[2:]))}", str(run.cell.threads)]


def _network_cells(entry: CellEntry, of_one: Figures | None) -> list[str]:
    if of_one is None:
        return [outcome(entry), "", "", "", "", "", agreement(entry)]
    return [
        seconds(of_one.latency_ms),
        *faster_cells(of_one),
        mib(of_one.peak_bytes),
        "" if of_one.memory is None else f"{of_one.memory:.2f}",
        agreement(entry),
    ]


def faster_cells(of_one: Figures) -> list[str]:
    """The ratio with its interval, the range for a repetition, and that of the repetitions that there are."""
    if of_one.faster is None:
        return ["", "", ""]
    many = len(of_one.seen) > 1
    return [
        f"{of_one.faster}x",
        str(of_one.faster.repetition or "unknown"),
        f"{min(of_one.seen):.2f} to {max(of_one.seen):.2f} in {len(of_one.seen)}" if many else "",
    ]


def scaling(each: OneMachine, ages: Ages) -> Iterator[str]:
    """Threads and limits of the instruction set."""
    runs = [run for run in each.last(Kind.NETWORK) if run.cell.group in ("scaling", "isa")]
    rows: list[list[str]] = []
    for run in sorted(runs, key=lambda run: _order(run.cell)):
        found = each.figures(run)
        what = [ages.marked(run.cell.subject, run.started), run.cell.isa, str(run.cell.threads)]
        for entry in run.entries:
            cells = _network_cells(entry, found.get(entry.name))
            rows.append([*what, entry.name, *cells[:5], cells[-1]])
    if rows:
        yield "### Threads and instruction sets"
        figures_of_one = ("latency", *FASTER, "peak memory", "agreement with PyTorch")
        yield markdown_table(("network", "instructions", "threads", "engine", *figures_of_one), rows)


def _order(cell: Cell) -> tuple[str, bool, str, int]:
    return cell.subject, cell.isa != NATIVE, cell.isa, cell.threads
