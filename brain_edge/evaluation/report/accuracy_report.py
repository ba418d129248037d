"""The accuracy report of one search for a cheaper package: everything that was decided, and on what, in one schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec.structs import replace

from brain_edge.evaluation.evidence import Evidence
from brain_edge.machine.atomic import atomic_file, remove_all_leftovers
from brain_edge.machine.json import decode_json
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
    """Who a case number stands for: in a report, never in a package.

    Attributes:
        case: its number.
        subject, visit, sequences: as the manifest of the cohort says.
        picture: file beside the report, or None.
    """

    case: int
    subject: str
    visit: str
    sequences: tuple[str, ...]
    picture: str | None = None


class AccuracyReport(Value, frozen=True, kw_only=True):
    """One search, met or not.

    Attributes:
        format_version: of this schema.
        met: whether a package was written.
        failures: every limit that was missed, in words.
        smallest_budget: the smallest limits that the measured drops meet, in words; empty where they are met.
        search_result: why the search ended.
        judged_on: the split of the figures; the test split is only looked at once the search has found a candidate.
        model: name of the specification.
        candidate: digest of the package that was written, or None.
        labels: of the model.
        cohort, licence, citation: of the images.
        synthetic: whether nobody was imaged.
        versions: of what made the package.
        evidence: as a package carries it.
        cases: who was judged.
        warning: whether this report names people and may show them.
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


def pseudonymous(report: AccuracyReport) -> AccuracyReport:
    """The report for others: subjects under the numbers that the package has for them, no visit and no picture."""
    numbers = {record.case: record.subject for record in report.evidence.cases}
    cases = tuple(
        replace(case, subject=f"subject {numbers[case.case]}", visit="", picture=None) for case in report.cases
    )
    return replace(report, cases=cases, warning=WITHOUT_PATIENTS)


def with_pictures(report: AccuracyReport, pictures: Mapping[int, str]) -> AccuracyReport:
    """The report with the names of the files that show its cases, by case number."""
    cases = tuple(replace(case, picture=pictures.get(case.case)) for case in report.cases)
    return replace(report, cases=cases)


def write_report(report: AccuracyReport, folder: Path) -> Path:
    """Write the report as JSON into a folder that exists; the path of the file."""
    path = folder / REPORT
    remove_all_leftovers(folder)
    with atomic_file(path) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return path


def read_report(path: Path) -> AccuracyReport:
    """Read a report back."""
    return decode_json(path.read_bytes(), AccuracyReport)
