"""Schema of the accuracy report of one search for a cheaper package: all decisions and the data behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec.structs import replace

from brain_edge.evaluation.evidence import Evidence
from brain_edge.evaluation.report.gain import Gain
from brain_edge.machine.atomic import atomic_file, remove_all_leftovers
from brain_edge.machine.json import decode_json
from brain_edge.machine.paths import read_small
from brain_edge.package.digest import Sha256
from brain_edge.spec import Label, Value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REPORT: Final = "accuracy.json"
WITH_PATIENTS: Final = (
    "This report names subjects and may contain images of patients; the package it is about does neither."
)
WITHOUT_PATIENTS: Final = "This report names no subject and shows no image of a patient."


class NamedCase(Value, frozen=True, kw_only=True):
    """Identity behind a case number, in a report but never in a package.

    Attributes:
        case: number of the case.
        subject, visit, sequences: values of the cohort's manifest.
        picture: name of a file beside the report, or None.
    """

    case: int
    subject: str
    visit: str
    sequences: tuple[str, ...]
    picture: str | None = None


class AccuracyReport(Value, frozen=True, kw_only=True):
    """One search, met or not.

    Attributes:
        format_version: version of this schema.
        met: True if the budget is met and a package was written.
        failures: missed limits, in words.
        smallest_budget: smallest limits that the measured drops meet, in words; empty if the budget is met.
        search_result: reason why the search ended.
        judged_on: split of the figures; the test split is used only after the search has found a candidate.
        model: name of the specification.
        candidate: digest of the package that was written, or None.
        labels: name of each label of the model, by value.
        cohort, licence, citation: facts about the images.
        synthetic: True if the images are synthetic.
        versions: versions of the programs that made the package.
        evidence: evidence as the package contains it.
        cases: identities of the judged cases.
        warning: statement whether this report names people and may show them.
        gain: size, latency and memory before and after on the computer of the search; None if they were not measured.
    """

    format_version: Literal[2] = 2
    met: bool
    failures: tuple[str, ...]
    smallest_budget: str
    search_result: str
    judged_on: str
    model: str
    candidate: Sha256 | None
    labels: tuple[Label, ...]
    cohort: str
    licence: str
    citation: str
    synthetic: bool
    versions: dict[str, str]
    evidence: Evidence
    cases: tuple[NamedCase, ...]
    warning: str = WITH_PATIENTS
    gain: Gain | None = None


def pseudonymous(report: AccuracyReport) -> AccuracyReport:
    """Return the report for others: subjects under the numbers of the package, without visits and pictures."""
    numbers = {record.case: record.subject for record in report.evidence.cases}
    cases = tuple(
        replace(case, subject=f"subject {numbers[case.case]}", visit="", picture=None) for case in report.cases
    )
    return replace(report, cases=cases, warning=WITHOUT_PATIENTS)


def with_pictures(report: AccuracyReport, pictures: Mapping[int, str]) -> AccuracyReport:
    """Return the report with the file names of pictures added to its cases, by case number."""
    cases = tuple(replace(case, picture=pictures.get(case.case)) for case in report.cases)
    return replace(report, cases=cases)


def write_report(report: AccuracyReport, folder: Path) -> Path:
    """Write the report as JSON into an existing folder, and return the path of the file."""
    path = folder / REPORT
    remove_all_leftovers(folder)
    with atomic_file(path) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return path


def read_report(path: Path) -> AccuracyReport:
    """Read a report back."""
    return decode_json(read_small(path), AccuracyReport)
