"""The recorded cells of the benchmark matrix as a page in Markdown. Pure: measures nothing, draws nothing."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from benchmarks.harness.cell_record import TIMED, EntryOutcome, Kind
from brain_edge.bench.starts import MINIMUM_STARTS
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.machine.description import differences

from .costs import cost_rows
from .formatting import NOT_MEASURED, mib, short
from .recipe_age import Ages
from .speed_tables import networks, scaling, table_4, table_4_words
from .suite import suite_table
from .summaries import best_isa, held
from .targets import COLUMNS as TARGET_COLUMNS
from .targets import target_rows
from .whole_cases import whole_case_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.harness.cell_record import CellEntry, CellRun
    from brain_edge.machine.description import Machine

    from .costs import Costs
    from .figures import Drawn
    from .recipe_age import RecipeAge
    from .suite import SuiteRun
    from .summaries import OneMachine
    from .whole_cases import WholeCaseRun

HYBRIDS: Final = "AVX2-VNNI"


def benchmark_page(
    all_machines: Sequence[OneMachine],
    drawn: Sequence[Drawn],
    costs: Costs | None,
    cases: Sequence[WholeCaseRun] = (),
    recipes: Mapping[str, RecipeAge] = MappingProxyType({}),
    suites: Sequence[SuiteRun] = (),
) -> str:
    """The whole page.

    Args:
        all_machines: each with its cells.
        drawn: figures that lie beside the page.
        costs: the reader's own prices and powers; None without.
        cases: contenders in turn outside the matrix, oldest first.
        recipes: since when each computes what it computes, by name.
        suites: runs of the pytest-benchmark suite, oldest first.
    """
    blocks = [*_head(all_machines), *_figure(drawn, "speed-up-by-cpu")]
    for each in all_machines:
        blocks += [f"## {each.cpu}", *_machine(each, drawn, costs, cases, Ages(recipes))]
        blocks += suite_table([run for run in suites if not differences(run.machine_info, each.machine)])
    return "\n\n".join(blocks) + "\n"


def _head(all_machines: Sequence[OneMachine]) -> Iterator[str]:
    yield "# Benchmarks: CPU configurations, peers, GPU baselines"
    yield (
        "*Written by `python -m benchmarks report` from recorded results; nothing on this page is typed in by hand "
        "but what is marked as published. How to measure and what is recorded: `benchmarks/README.md`.*"
    )
    yield (
        "Contenders of a group run in turn, A B C A B C, so that ratios within a group hold where times do not; a "
        "round counts if other programs took little of the machine. The unit is the start of a process: latencies and "
        "ratios are geometric means over the starts of all repetitions, the interval in brackets is that of the mean, "
        "and *a repetition* is where the ratio of another repetition lies (both 95 %, Student's, of five starts or "
        "more). *1 start*: an older record, whose rounds ran in one process and tell nothing of the next. Machines are "
        "never mixed: each has tables and figures of its own."
    )
    yield "\n".join(f"- {each.cpu}: {len(each.runs) or 'no'} recorded runs of cells." for each in all_machines)
    if all(best_isa(each.machine) != HYBRIDS for each in all_machines):
        yield (
            "No CPU with AVX2-VNNI was measured (Intel's client hybrids since Alder Lake), and many hospital "
            "workstations have one: what INT8 gains there is not known from this page."
        )
    yield "A data-centre GPU, where one is shown, is not a workstation's GPU."


def _machine(
    each: OneMachine, drawn: Sequence[Drawn], costs: Costs | None, cases: Sequence[WholeCaseRun], ages: Ages
) -> Iterator[str]:
    ours = [case for case in cases if not differences(case.machine, each.machine)]
    yield _facts(each.machine, [*each.runs, *ours])
    if each.runs:
        yield from _cells(each, drawn, costs, ages)
    yield from whole_case_tables(ours, ages)
    yield from ages.words()


def _cells(each: OneMachine, drawn: Sequence[Drawn], costs: Costs | None, ages: Ages) -> Iterator[str]:
    part = each.file_part
    yield "### Accuracy, latency and memory"
    yield table_4(each, ages)
    yield table_4_words(each)
    asked = target_rows(each)
    if asked:
        yield "### What was asked"
        yield markdown_table(TARGET_COLUMNS, asked)
    yield from networks(each, ages)
    yield from _figure(drawn, f"latency-dice-{part}")
    yield from _figure(drawn, f"memory-latency-{part}")
    yield from _figure(drawn, f"core-scaling-{part}")
    yield from scaling(each, ages)
    yield from _figure(drawn, f"isa-{part}")
    for run in each.last(Kind.ROOFLINE):
        ages.marked(run.cell.subject, run.started)
    yield from _figure(drawn, f"roofline-{part}")
    yield from _ceilings(each, ages)
    yield from _repetitions(each)
    yield from _costs(each, costs)
    yield from _missing(each)


def _facts(machine: Machine, runs: Sequence[CellRun | WholeCaseRun]) -> str:
    in_time = sorted(runs, key=lambda run: run.started)
    last = in_time[-1]
    versions = ", ".join(
        f"{name} {last.versions[name]}"
        for name in ("python", "openvino", "nncf", "torch", "onnxruntime")
        if name in last.versions
    )
    commits = sorted({f"{run.commit.id[:12]}{' and changes' if run.commit.changed else ''}" for run in runs})
    memory = machine.memory_bytes
    return (
        f"{machine.system}, {'unknown' if memory is None else f'{memory / 2**30:.0f} GiB of'} memory; {versions}; "
        f"commit {', '.join(commits)}; measured from {in_time[0].started:%Y-%m-%d %H:%M} to "
        f"{last.started:%Y-%m-%d %H:%M} UTC."
    )


# --- memory, noise, costs, what is missing ---------------------------------------------------------------------------


def _ceilings(each: OneMachine, ages: Ages) -> Iterator[str]:
    runs = each.last(Kind.MEMORY)
    if not runs:
        return
    yield "### Memory ceilings"
    limits = sorted({limit for run in runs for limit in run.cell.limits_mib})
    rows = []
    for run in runs:
        for name in run.cell.contenders:
            by_limit = {entry.limit_mib: entry for entry in run.entries if entry.name == name}
            rows.append(
                [ages.marked(run.cell.subject, run.started), name, *(_fits(by_limit.get(limit)) for limit in limits)]
            )
    yield markdown_table(("model", "contender", *(f"{limit} MiB" for limit in limits)), rows)
    yield (
        "Whole processes under a real limit (RLIMIT_DATA: heap, private mappings and the stacks of threads; it counts "
        "what is reserved, so it is stricter than resident memory). A cell says what was resident at most, or that the "
        "process ended for want of memory. Not timed."
    )


def _fits(entry: CellEntry | None) -> str:
    if entry is None:
        return ""
    if entry.outcome is EntryOutcome.MEASURED:
        return f"fits, {mib(entry.samples[0].peak_rss_bytes)}"
    return str(entry.outcome)


def _repetitions(each: OneMachine) -> Iterator[str]:
    yield "### Repetitions"
    found = held(each.runs)
    if not found:
        yield (
            f"{NOT_MEASURED}: no ratio was measured in {MINIMUM_STARTS} repetitions on this machine "
            "(`make bench REPETITION=2` repeats the suite)."
        )
        return
    told, kept = sum(one.told for one in found), sum(one.repetitions for one in found)
    alone = f"; that of one repetition held {sum(one.inside for one in found)} of {told} others" if told else ""
    yield (
        f"{len(found)} ratios were measured in {MINIMUM_STARTS} repetitions or more. The range for a repetition that "
        f"all of them but one give held that one in {sum(one.left_out for one in found)} of {kept}{alone}. "
        "`python -m benchmarks repetitions` has them one by one, and simulations."
    )


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
    yield markdown_table(columns, rows)
    yield f"From the reader's own numbers ({costs.source}), not ours."


def _missing(each: OneMachine) -> Iterator[str]:
    """Every contender that has no figures, and why, in the last run of its cell."""
    rows = []
    for kind in Kind:
        for run in each.last(kind):
            counted = run.counted()
            for entry in run.entries:
                too_few = bool(entry.samples) and kind in TIMED and not each.figures(run)
                if too_few:
                    rows.append(
                        [run.cell.id, entry.name, "too few rounds", f"{len(counted)} of {len(entry.samples)} count"]
                    )
                elif entry.outcome is not EntryOutcome.MEASURED and entry.outcome is not EntryOutcome.DOES_NOT_FIT:
                    rows.append([run.cell.id, entry.name, str(entry.outcome), short(entry.why)])
    yield "### What has no figures, and why"
    yield (
        markdown_table(("cell", "contender", "outcome", "why"), rows)
        if rows
        else "Nothing: every declared contender ran."
    )


def _figure(drawn: Sequence[Drawn], stem: str) -> Iterator[str]:
    for each in drawn:
        if each.stem == stem:
            yield f"![{each.title}]({each.stem}.png)"
            yield f"*{each.title}. {each.caption}* [SVG]({each.stem}.svg)"
