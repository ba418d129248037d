"""HTML page of the accuracy report: figures, a scatter plot of the losses and the worst cases, readable offline.

One file contains everything, also the pictures, so that a page that shows patients cannot lose its warning.
"""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING, Final

from brain_edge.evaluation.evidence import Basis, Change
from brain_edge.evaluation.report.scatter import Point, scatter_svg
from brain_edge.machine.atomic import atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from brain_edge.evaluation.evidence import AccuracyCase, Evidence, LabelRecord, TrialRecord
    from brain_edge.evaluation.report.accuracy_report import AccuracyReport

PAGE: Final = "accuracy.html"
NAMED_LAYERS: Final = 2
"""Layers of a trial that the table names; more are counted."""
STYLE: Final = """
body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 0.5em 0 1.5em; }
th, td { border: 1px solid #bbb; padding: 0.2em 0.6em; text-align: right; }
th { background: #eee; } td:first-child, th:first-child, .text td { text-align: left; }
.warning { background: #fff3cd; border-left: 0.4em solid #d39e00; padding: 0.5em 1em; }
.missed { color: #a40000; } img { max-width: 100%; } code { word-break: break-all; }
"""


def write_page(report: AccuracyReport, folder: Path) -> Path:
    """Write the page into the folder of a report, with the pictures that the report names; return its path."""
    path = folder / PAGE
    pictures = {case.case: folder / case.picture for case in report.cases if case.picture is not None}
    with atomic_file(path) as partial:
        partial.write_text(page(report, pictures), encoding="utf-8")
    return path


def page(report: AccuracyReport, pictures: Mapping[int, Path]) -> str:
    """Return the HTML of a report; `pictures` gives a PNG by case number."""
    change = report.evidence.change
    title = escape(f"{report.model}: {change.candidate} against {change.baseline} on {report.cohort}")
    body = "\n".join(_sections(report, pictures))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )


def _sections(report: AccuracyReport, pictures: Mapping[int, Path]) -> Iterator[str]:
    yield from _warnings(report, pictures)
    yield from _gain(report)
    yield from _verdict(report)
    yield "<h2>Per label</h2>"
    yield _labels(report)
    yield "<h2>Per case</h2>"
    yield _scatter(report.evidence)
    yield _cases(report)
    yield from _worst_cases(report, pictures)
    if report.evidence.isas:
        yield "<h2>Other instruction sets</h2>"
        yield _isas(report.evidence)
    yield "<h2>The search</h2>"
    yield f"<p>{escape(report.search_result)}. Trials were judged on the {report.evidence.searched_on} split.</p>"
    yield _trials(report.evidence)
    if report.evidence.change is Change.QUANTIZED:
        yield "<h2>Layers in floating point</h2>"
        yield _floats(report.evidence)
    yield "<h2>Provenance</h2>"
    yield _provenance(report)


def _warnings(report: AccuracyReport, pictures: Mapping[int, Path]) -> Iterator[str]:
    words = [report.warning]
    if pictures:
        words.append("This page CONTAINS PATIENT IMAGES: treat it like the images themselves.")
    if report.synthetic:
        words.append("SYNTHETIC IMAGES: the figures on this page do not apply to real heads.")
    if report.evidence.demonstration:
        words.append("DEMONSTRATION on one head: the figures on this page do not apply to other heads.")
    words += report.evidence.warnings
    yield f'<div class="warning">{"".join(f"<p>{escape(line)}</p>" for line in words)}</div>'


def _gain(report: AccuracyReport) -> Iterator[str]:
    if report.gain is not None:
        change = report.evidence.change
        yield f"<h2>What {escape(change.candidate)} gives on the computer of the search</h2>"
        yield f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in report.gain.in_words)}</ul>"


def _verdict(report: AccuracyReport) -> Iterator[str]:
    evidence = report.evidence
    if report.met:
        yield "<h2>The budget is met</h2>"
    else:
        yield '<h2 class="missed">The budget is not met; no package was written</h2>'
        yield f"<ul>{''.join(f'<li>{escape(failure)}</li>' for failure in report.failures)}</ul>"
        yield f"<p>{escape(report.smallest_budget)}</p>"
    yield f"<p>{escape(evidence.statement)}.</p><p>{escape(evidence.next_patient)}</p>"
    yield f"<p>Judged on the {escape(report.judged_on)} split; basis: {evidence.basis}.</p>"
    yield f"<p>Limits and exclusions: {escape(evidence.bounds)}.</p>"
    yield _table(("what", "measured", "limit"), _limit_rows(evidence))


def _limit_rows(evidence: Evidence) -> Iterator[Sequence[str]]:
    what = "drop" if evidence.basis is Basis.ACCURACY else "disagreement"
    yield f"worst mean {what} of a label", _dice(evidence.worst_mean_drop), _dice(evidence.limits.max_dice_drop)
    yield f"worst {what} of one case", _dice(evidence.worst_case_drop), _dice(evidence.limits.max_case_drop)
    yield "worst mean disagreement", _dice(evidence.worst_mean_disagreement), _dice(evidence.limits.max_disagreement)
    yield "worst HD95 increase (mm)", _mm(evidence.worst_hd95_increase_mm), _mm(evidence.limits.max_hd95_increase_mm)
    yield (
        "multiply-accumulates in INT8 (at least)",
        f"{evidence.int8_share:.1%}",
        f"{evidence.limits.min_int8_share:.1%}",
    )


def _labels(report: AccuracyReport) -> str:
    change = report.evidence.change
    columns = (
        *("label", "cases", "absent", f"lowest Dice of {change.baseline}"),
        *("limit", "mean drop", "worst drop", "95 % interval of the mean"),
        *("least volume (ml)", "masks differ by (ml)", "in a single case (ml)"),
        *("mean disagreement", "mean HD95 increase (mm)", "false-positive (ml)", f"lesions found by {change.baseline}"),
        f"by {change.candidate}",
    )
    names = {label.value: label.name for label in report.labels}
    return _table(
        columns,
        (
            (
                *(f"{record.label} {names.get(record.label, '')}", str(record.cases), str(record.absent)),
                _dice(record.lowest_dice_baseline),
                *(_limit_of(record), _dice(record.mean_drop), _dice(record.worst_drop)),
                "-" if record.interval is None else " to ".join(map(_dice, record.interval)),
                *(_mm(record.least_volume_ml), _mm(record.mean_apart_ml), _mm(record.worst_apart_ml)),
                *(_dice(record.mean_disagreement), _mm(record.mean_hd95_increase_mm)),
                f"{record.false_positive_ml:.2f}",
                *(_of(record.found_baseline, record.lesions), _of(record.found_candidate, record.lesions)),
            )
            for record in report.evidence.labels
        ),
    )


def _limit_of(record: LabelRecord) -> str:
    if record.allowed_ml is not None:
        return f"{record.allowed_ml:.2g} ml"
    return "-" if record.max_dice_drop is None else f"{record.max_dice_drop:g}"


def _cases(report: AccuracyReport) -> str:
    change = report.evidence.change
    columns = (
        *("case", "subject", "visit", "label", f"Dice {change.baseline}", f"Dice {change.candidate}", "drop"),
        f"{change.candidate} against {change.baseline}",
        *(f"HD95 {change.baseline} (mm)", f"HD95 {change.candidate} (mm)"),
    )
    who = {case.case: case for case in report.cases}
    return _table(
        columns,
        (
            (
                *(str(record.case), who[record.case].subject, who[record.case].visit, str(record.label)),
                *map(_dice, (record.dice_baseline, record.dice_candidate, record.drop, record.agreement)),
                *(_mm(record.hd95_baseline_mm), _mm(record.hd95_candidate_mm)),
            )
            for record in report.evidence.cases
        ),
    )


def _worst_cases(report: AccuracyReport, pictures: Mapping[int, Path]) -> Iterator[str]:
    if not pictures:
        return
    yield "<h2>Worst cases</h2>"
    for case in report.cases:
        if case.case in pictures:
            data = base64.b64encode(pictures[case.case].read_bytes()).decode()
            name = escape(f"case {case.case}: {case.subject} {case.visit}")
            picture = f'<img alt="{name}" src="data:image/png;base64,{data}">'
            yield f"<figure>{picture}<figcaption>{name}</figcaption></figure>"


def _isas(evidence: Evidence) -> str:
    return _table(
        (
            *("instructions", "verified", "met", "worst mean drop", "worst mean disagreement", "INT8", "kernels"),
            *("nodes by instructions", "layers in float", "remark"),
        ),
        (
            (
                *(isa.isa, _yes(isa.verified), _yes(isa.met) if isa.verified else "-"),
                *(_dice(isa.worst_mean_drop), _dice(isa.worst_mean_disagreement)),
                "-" if isa.int8_share is None else f"{isa.int8_share:.1%}",
                ", ".join(f"{kernel} {share:.1%}" for kernel, share in isa.kernels.items()),
                *(isa.ran, ", ".join(f"{each.graph}: {each.layer}" for each in isa.float_layers), isa.reason),
            )
            for isa in evidence.isas
        ),
    )


def _trials(evidence: Evidence) -> str:
    return _table(
        (
            *("trial", "changes", "layers reverted", "INT8", "operations (G)"),
            *("worst mean drop", "worst case", "share of its limit", "met"),
        ),
        (
            (
                *(str(number), ", ".join(trial.changes), _reverted(trial)),
                "-" if trial.int8_share is None else f"{trial.int8_share:.1%}",
                "-" if trial.operations is None else f"{trial.operations / 1e9:.1f}",
                *(_dice(trial.worst_mean_drop), _dice(trial.worst_case_drop)),
                *(_mm(trial.excess), trial.problem or _yes(trial.met)),
            )
            for number, trial in enumerate(evidence.trials, start=1)
        ),
    )


def _reverted(trial: TrialRecord) -> str:
    """Name up to two layers; count more."""
    count = len(trial.reverted)
    return ", ".join(trial.reverted) if 0 < count <= NAMED_LAYERS else str(count)


def _floats(evidence: Evidence) -> str:
    if not evidence.float_layers:
        return "<p>None: every layer with weights is in INT8.</p>"
    return _table(
        ("graph", "layer", "type", "multiply-adds", "reason"),
        (
            (layer.graph, layer.layer, layer.kind, f"{layer.multiply_adds:,}", layer.reason)
            for layer in evidence.float_layers
        ),
    )


def _provenance(report: AccuracyReport) -> str:
    rows = [
        ("baseline", report.evidence.baseline),
        ("candidate", report.candidate or "not written"),
        ("cohort", f"{report.cohort}, {report.licence}"),
        ("cohort SHA-256", report.evidence.cohort_sha256),
        ("citation", report.citation),
        ("threads", str(report.evidence.threads)),
        *((f"multiply-accumulates by {kernel}", f"{share:.1%}") for kernel, share in report.evidence.kernels.items()),
        *((f"version of {tool}", version) for tool, version in sorted(report.versions.items())),
        *((f"time f32 / INT8, {kind}", f"{factor:g}") for kind, factor in report.evidence.cost_factors.items()),
    ]
    return _table(("what", "which"), rows)


def _scatter(evidence: Evidence) -> str:
    """Plot one point per case and label: Dice of the baseline (or the case, without a Dice) against the loss."""
    baseline, limits = evidence.change.baseline, evidence.limits
    figures: list[tuple[float | None, float | None, AccuracyCase]]
    if evidence.basis is Basis.ACCURACY:
        axes = (f"Dice of {baseline}", "drop")
        figures = [(record.dice_baseline, record.drop, record) for record in evidence.cases]
    else:
        axes = ("case", f"disagreement with {baseline}")
        lost = [None if record.agreement is None else 1.0 - record.agreement for record in evidence.cases]
        figures = [(record.case, y, record) for y, record in zip(lost, evidence.cases, strict=True)]
    points = [
        Point(x, y, f"case {record.case}, label {record.label}")
        for x, y, record in figures
        if x is not None and y is not None
    ]
    return scatter_svg(
        points, {"limit of the mean": limits.max_dice_drop, "limit of one case": limits.max_case_drop}, axes
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    return f"<table>\n<tr>{head}</tr>\n{lines}</table>"


def _dice(value: float | None) -> str:
    return "-" if value is None else f"{value:.5f}"


def _mm(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _of(found: int | None, lesions: int | None) -> str:
    return "-" if found is None else f"{found} of {lesions}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
