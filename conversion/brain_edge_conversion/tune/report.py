"""Report of a tuning: its settings with their times, and the Pareto front.

The report names no subject and shows no picture: cases have numbers.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.evaluation.markdown import markdown_table
from brain_edge.machine.atomic import atomic_file, remove_all_leftovers
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.description import Machine, this_machine
from brain_edge.spec import Value
from brain_edge_conversion.budget.budget import DROP_STEP
from brain_edge_conversion.convert.versions import tool_versions
from brain_edge_conversion.search.judgement import outcome_of
from brain_edge_conversion.tune.front import pareto_front
from brain_edge_conversion.tune.timed import ProcessSample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from brain_edge.package import ModelPackage
    from brain_edge_conversion.budget.budget import AccuracyBudget
    from brain_edge_conversion.search.journal import Entry
    from brain_edge_conversion.search.space import Ending, TrialSetup
    from brain_edge_conversion.tune.settings import Dials, Setting

REPORT: Final = "tuning.json"
TABLE: Final = "tuning.md"
UNKNOWN_BYTES: Final = 0
"""Memory on a system that does not report it: equal for all settings, so that it does not affect the front."""


class SettingReport(Value, frozen=True, kw_only=True):
    """Report of one setting, including the package as it is.

    Attributes:
        title: differences from the package as it is.
        changes: list of the differences; empty for the package as it is.
        operations: cost of the networks over all search cases, f32 multiply-accumulates; None if the setting could not
            run.
        mean_drop, worst_drop: worst mean Dice drop of a label, and worst drop of a case, on search data.
        mean_disagreement: worst mean of 1 - Dice with the package as it is.
        met: True if the budget is met on search data.
        samples: cold processes on one case, one per round; sample n of every setting is from round n.
        latency_ms, peak_rss_bytes: medians of the samples.
        on_front: True if no other setting is at least as good in latency, memory, mean and worst drop.
        problem: reason why the setting could not run.
    """

    title: str
    changes: tuple[str, ...]
    operations: float | None
    mean_drop: float | None
    worst_drop: float | None
    mean_disagreement: float | None
    met: bool
    samples: tuple[ProcessSample, ...] = ()
    latency_ms: float | None = None
    peak_rss_bytes: int | None = None
    on_front: bool = False
    problem: str = ""


class TuningReport(Value, frozen=True, kw_only=True):
    """Settings of a tuning with their times; the accuracy report beside it holds the measurements of the masks.

    Attributes:
        model, baseline: name of the tuned model, and digest of its package.
        max_dice_drop, max_case_drop: limits of the budget.
        searched_on: split of the figures.
        reason: reason for the end of the search.
        failures: missed limits; empty if a package was written.
        chosen: title of the choice, or None.
        candidate: digest of the written package, or None.
        settings: the package as it is, then the trials in order.
        machine: machine of the times.
        threads: number of threads in all measurements.
        versions: versions of the measuring tools.
    """

    model: str
    baseline: str
    max_dice_drop: float
    max_case_drop: float
    searched_on: str
    reason: str
    failures: tuple[str, ...]
    chosen: str | None
    candidate: str | None
    settings: tuple[SettingReport, ...]
    machine: Machine
    threads: int
    versions: dict[str, str]


def tuning_report(
    package: ModelPackage,
    dials: Dials,
    setup: TrialSetup[Setting],
    ending: Ending[Setting],
    settings: tuple[SettingReport, ...],
) -> TuningReport:
    """Return the report of a finished tuning."""
    budget = setup.options.budget
    return TuningReport(
        model=package.spec.name,
        baseline=package.digest,
        max_dice_drop=budget.max_dice_drop,
        max_case_drop=budget.case_limit,
        searched_on=setup.splits.searched_on,
        reason=ending.stop.reason,
        failures=ending.failures,
        chosen=None if ending.stop.chosen is None else dials.title(ending.stop.chosen),
        candidate=ending.digest,
        settings=settings,
        machine=this_machine(),
        threads=setup.options.runtime.threads or default_threads(),
        versions=tool_versions(("openvino", "brain-edge")),
    )


def setting_reports(
    dials: Dials,
    entries: Sequence[Entry[Setting]],
    budget: AccuracyBudget,
    operations: float,
    samples: Mapping[Setting, Sequence[ProcessSample]],
) -> tuple[SettingReport, ...]:
    """Return the package as it is, then the trials in order, with times and front.

    Args:
        dials: dials of the tuning.
        entries: trials of the search.
        budget: limits on the masks.
        operations: cost of the package as it is, f32 multiply-accumulates.
        samples: cold processes of each setting that could run.
    """
    full = SettingReport(
        title=dials.title(dials.full),
        changes=(),
        operations=operations,
        mean_drop=0.0,
        worst_drop=0.0,
        mean_disagreement=0.0,
        met=True,
    )
    rows = [full, *(_setting_report(dials, entry, budget) for entry in entries)]
    return with_times(rows, [samples.get(each, ()) for each in (dials.full, *(entry.choice for entry in entries))])


def _setting_report(dials: Dials, entry: Entry[Setting], budget: AccuracyBudget) -> SettingReport:
    verdict = outcome_of(entry, budget).verdict if entry.ran else None
    return SettingReport(
        title=dials.title(entry.choice),
        changes=dials.changes(entry.choice),
        operations=entry.operations,
        mean_drop=None if verdict is None else verdict.worst_mean_drop,
        worst_drop=None if verdict is None else verdict.worst_case_drop,
        mean_disagreement=None if verdict is None else verdict.worst_mean_disagreement,
        met=verdict is not None and verdict.met,
        problem=entry.problem,
    )


def with_times(
    settings: Sequence[SettingReport], samples: Sequence[Sequence[ProcessSample]]
) -> tuple[SettingReport, ...]:
    """Add samples, medians and the front to the settings.

    Args:
        settings: settings in any order.
        samples: cold processes of each setting; empty for a setting that could not run.
    """
    timed = [_timed(setting, each) for setting, each in zip(settings, samples, strict=True)]
    measured = [number for number, setting in enumerate(timed) if setting.latency_ms is not None]
    front = {measured[place] for place in pareto_front([_figures(timed[number]) for number in measured])}
    return tuple(msgspec.structs.replace(setting, on_front=number in front) for number, setting in enumerate(timed))


def write_tuning(report: TuningReport, folder: Path) -> Path:
    """Write the report as JSON and as a table into an existing folder; return the path of the table."""
    remove_all_leftovers(folder)
    with atomic_file(folder / REPORT) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    with atomic_file(folder / TABLE) as partial:
        partial.write_text(as_markdown(report), encoding="utf-8", newline="\n")
    return folder / TABLE


def as_markdown(report: TuningReport) -> str:
    """Return the report as a Markdown page."""
    full = report.settings[0]
    rows = [[str(number), *_row(setting, full, report)] for number, setting in enumerate(report.settings, start=1)]
    lines = [
        f"# Tuning of {report.model}",
        "",
        f"Budget: mean Dice drop of a label at most {report.max_dice_drop:g}, of a single case at most "
        f"{report.max_case_drop:g}. Searched on the {report.searched_on} cases. {_ended(report)}",
        "",
        markdown_table(COLUMNS, rows),
        "",
        f"Latency and peak memory are medians of whole cold processes on one case, {report.threads} thread(s), "
        f"{report.machine.cpu} ({report.machine.isa}). They are for information: the search compares operations. "
        "`front`: no other setting is at least as good in latency, memory, mean and worst drop.",
        "",
    ]
    problems = [f"- {setting.title}: {setting.problem}" for setting in report.settings if setting.problem]
    if problems:
        lines += ["Settings that could not run:", "", *problems, ""]
    return "\n".join(lines)


COLUMNS: Final = (
    *("", "setting", "operations", "fewer", "latency (s)", "faster", "peak (MiB)"),
    *("mean drop", "worst drop", "disagreement", "budget", ""),
)


def _row(setting: SettingReport, full: SettingReport, report: TuningReport) -> list[str]:
    marks = [word for word, said in (("chosen", setting.title == report.chosen), ("front", setting.on_front)) if said]
    return [
        setting.title,
        _number(setting.operations, 1e9, ".1f") + ("" if setting.operations is None else " G"),
        _ratio(full.operations, setting.operations),
        _number(setting.latency_ms, 1000.0, ".2f"),
        _ratio(full.latency_ms, setting.latency_ms),
        _number(setting.peak_rss_bytes, 2.0**20, ".0f"),
        _number(setting.mean_drop, 1.0, ".5f"),
        _number(setting.worst_drop, 1.0, ".5f"),
        _number(setting.mean_disagreement, 1.0, ".5f"),
        "" if not setting.changes else "met" if setting.met else "missed",
        ", ".join(marks),
    ]


def _number(value: float | None, unit: float, digits: str) -> str:
    return "-" if value is None else f"{value / unit:{digits}}"


def _ratio(before: float | None, after: float | None) -> str:
    return "-" if not before or not after else f"{before / after:.1f}x"


def _ended(report: TuningReport) -> str:
    if report.failures:
        return f"No package was written: {'; '.join(report.failures)}."
    return f"Chosen: {report.chosen} ({report.reason})."


def _timed(setting: SettingReport, samples: Sequence[ProcessSample]) -> SettingReport:
    if not samples:
        return setting
    peaks = [sample.peak_rss_bytes for sample in samples if sample.peak_rss_bytes is not None]
    return msgspec.structs.replace(
        setting,
        samples=tuple(samples),
        latency_ms=statistics.median(sample.latency_ms for sample in samples),
        peak_rss_bytes=round(statistics.median(peaks)) if peaks else None,
    )


def _figures(setting: SettingReport) -> tuple[float, float, float, float]:
    """Return the figures that the front compares; drops are rounded to the printed digits."""
    steps = [round((drop or 0.0) / DROP_STEP) for drop in (setting.mean_drop, setting.worst_drop)]
    return (setting.latency_ms or 0.0, float(setting.peak_rss_bytes or UNKNOWN_BYTES), float(steps[0]), float(steps[1]))
