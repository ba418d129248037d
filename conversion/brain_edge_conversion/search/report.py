"""Report of a search: its judgement with the cohort's names, an HTML page, and pictures of the worst cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.evaluation.report.accuracy_page import write_page
from brain_edge.evaluation.report.accuracy_report import (
    AccuracyReport,
    NamedCase,
    pseudonymous,
    with_pictures,
    write_report,
)
from brain_edge_conversion.budget.pictures import draw_cases, worst_cases
from brain_edge_conversion.search.evidence import evidence_of

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.evaluation.cohort import Case
    from brain_edge.package import ModelPackage
    from brain_edge_conversion.search.journal import Choice
    from brain_edge_conversion.search.judgement import Judgement
    from brain_edge_conversion.search.space import Ending, TrialSetup


def write_search_report(
    ending: Ending[Choice],
    judgement: Judgement,
    candidate: ModelPackage,
    setup: TrialSetup[Choice],
    folder: Path,
) -> Path:
    """Write figures, page and, if patients may be named, pictures of the worst cases; return the path of the page."""
    report = search_report(ending, judgement)
    if setup.options.names_patients:
        worst = worst_cases(judgement.records)
        cases = [case for case in setup.splits.cohort.cases() if case.number in worst]
        drawn = draw_cases(candidate, judgement.change, cases, setup.masks, folder, setup.options.runtime)
        report = with_pictures(report, drawn)
    else:
        report = pseudonymous(report)
    write_report(report, folder)
    return write_page(report, folder)


def search_report(ending: Ending[Choice], judgement: Judgement) -> AccuracyReport:
    """Return the report of one search, with the cohort's names and without pictures."""
    cohort, manifest, baseline = judgement.cohort, judgement.cohort.manifest, judgement.baseline
    numbers = {record.case for record in judgement.records}
    return AccuracyReport(
        met=ending.digest is not None,
        failures=judgement.failures,
        smallest_budget=judgement.smallest_budget,
        search_result=ending.stop.reason,
        judged_on=judgement.split,
        model=baseline.spec.name,
        candidate=ending.digest,
        labels=baseline.spec.labels,
        cohort=manifest.name,
        licence=manifest.licence,
        citation=manifest.citation,
        synthetic=manifest.synthetic,
        versions=dict(judgement.versions),
        evidence=evidence_of(judgement),
        cases=tuple(_named(case) for case in cohort.cases() if case.number in numbers),
    )


def _named(case: Case) -> NamedCase:
    return NamedCase(case=case.number, subject=case.entry.subject, visit=case.entry.visit, sequences=tuple(case.inputs))
