"""Content of the page of a batch, from the records of its cases, in the order in which to look at them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from brain_edge.errors import InputError
from brain_edge.jobs.outliers import find_outliers
from brain_edge.jobs.record import CaseStatus
from brain_edge.jobs.records import read_case_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from brain_edge.jobs.outliers import LabelMeasure
    from brain_edge.jobs.record import CaseRecord, RunRecord


class Status(StrEnum):
    """Outcome of a case, worst first."""

    FAILED = "failed"
    """The case has no mask."""
    LOOK = "look at it"
    """The case has a mask and a flag."""
    DONE = "done"
    """The case has a mask without a flag."""


@dataclass(frozen=True)
class Mark:
    """Remark on a case.

    Attributes:
        kind: a few words, by which the page is filtered.
        message: one sentence.
    """

    kind: str
    message: str


@dataclass(frozen=True, kw_only=True)
class CaseView:
    """Row of one case.

    Attributes:
        name: name of the case.
        model, digest: name of the model, digest of its package.
        error: reason of the failure in one sentence; None for a finished case.
        measures: measures by label name.
        marks: flags of the plausibility check, and outliers of the batch.
        elapsed_ms: time of the whole case.
        peak_rss_bytes: peak memory of the process at the end of the case.
        picture: path of the mosaic relative to the folder of the page, with "/".
    """

    name: str
    model: str
    digest: str
    error: str | None = None
    measures: Mapping[str, LabelMeasure] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    elapsed_ms: float | None = None
    peak_rss_bytes: int | None = None
    picture: str | None = None

    @property
    def status(self) -> Status:
        """Outcome of the case."""
        if self.error is not None:
            return Status.FAILED
        return Status.LOOK if self.marks else Status.DONE

    @property
    def components(self) -> int | None:
        """Number of pieces of all labels, or None if they were not counted."""
        counts = [measure.components for measure in self.measures.values() if measure.components is not None]
        return sum(counts) if counts else None

    def sentence(self) -> str:
        """Return a description of the picture for readers who cannot see it."""
        labels = " and ".join(self.measures) or "no"
        volumes = ", ".join(f"{name} {measure.volume_ml:.0f} ml" for name, measure in self.measures.items())
        flags = "; ".join(mark.message for mark in self.marks) or "none"
        return f"{labels} mask of {self.name}: {volumes or 'no volume'}; flags: {flags}"


@dataclass(frozen=True, kw_only=True)
class BatchView:
    """Content of the whole page.

    Attributes:
        title: title of the page.
        intended_use: intended use that the package states.
        cases: cases in the order of the page.
        origin: origin of the masks (package, digest, versions, threads), name to value.
    """

    title: str
    intended_use: str
    cases: tuple[CaseView, ...]
    origin: Mapping[str, str]

    def labels(self) -> list[str]:
        """Return the names of all labels, in order of appearance."""
        return list(dict.fromkeys(name for case in self.cases for name in case.measures))

    def count(self, status: Status) -> int:
        """Return the number of cases with this status."""
        return sum(case.status is status for case in self.cases)

    def kinds(self) -> dict[str, int]:
        """Return the number of cases with a mark of each kind, the most frequent kind first."""
        kinds = [kind for case in self.cases for kind in {mark.kind for mark in case.marks}]
        return dict(sorted(((kind, kinds.count(kind)) for kind in set(kinds)), key=lambda item: (-item[1], item[0])))


def in_viewing_order(cases: Iterable[CaseView]) -> tuple[CaseView, ...]:
    """Sort failed cases first, then by number of marks, then by name; numbers in names count as numbers."""
    worst_first = list(Status)
    return tuple(
        sorted(cases, key=lambda case: (worst_first.index(case.status), -len(case.marks), _natural(case.name)))
    )


def with_outliers(cases: Sequence[CaseView]) -> list[CaseView]:
    """Return the cases with an added mark for each outlier."""
    found = find_outliers([case.measures for case in cases])
    return [
        replace(case, marks=(*case.marks, *(Mark(outlier.kind, outlier.message) for outlier in outliers)))
        for case, outliers in zip(cases, found, strict=True)
    ]


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts `head10` after `head9`."""
    return [(int(part), "") if part.isdecimal() else (-1, part.casefold()) for part in re.split(r"(\d+)", name)]


def read_batch(folder: Path) -> BatchView:
    """Read the content of the page from the records in a folder, without pictures that no longer exist.

    Raises:
        InputError: the folder holds no record.
    """
    records = read_case_records(folder)
    if not records:
        raise InputError(
            f"{folder}: expected the records of a batch (NAME_record.json), found none; name the output folder of "
            "brain-edge run"
        )
    runs = [record.run for record in records if record.run is not None]
    models = {run.digest: run.model for run in runs}
    views = [_case(record, models, folder) for record in records]
    names = ", ".join(dict.fromkeys(models.values())) or "brain_edge"
    return BatchView(
        title=f"{names}: {len(records)} case{'s' if len(records) != 1 else ''}",
        intended_use=" ".join(dict.fromkeys(run.intended_use for run in runs)),
        cases=in_viewing_order(with_outliers(views)),
        origin=dict(_origin(records, runs)),
    )


def _case(record: CaseRecord, models: dict[str, str], folder: Path) -> CaseView:
    run = record.run
    picture = record.outputs.get("picture")
    error = "no reason was recorded" if record.error is None else record.error.message
    return CaseView(
        name=record.case,
        model=models.get(record.digest, ""),
        digest=record.digest,
        error=None if record.status is CaseStatus.DONE else error,
        measures=record.measures,
        marks=tuple(Mark(f"implausible {flag.kind}", flag.message) for flag in (run.flags if run else ())),
        elapsed_ms=None if run is None else run.elapsed_ms["total"],
        peak_rss_bytes=None if run is None else run.peak_rss_bytes,
        picture=None if picture is None else _shown(picture.path, folder),
    )


def _shown(picture: str, folder: Path) -> str | None:
    """Return the link to a picture, or None if it is missing, is not PNG, or does not move with the page."""
    is_shown = picture.lower().endswith(".png") and not Path(picture).is_absolute()
    return picture if is_shown and (folder / picture).is_file() else None


def _origin(records: Sequence[CaseRecord], runs: Sequence[RunRecord]) -> Iterator[tuple[str, str]]:
    """Yield the origin of the masks; if cases differ, with every value that occurs."""
    yield "model", _each(f"{run.model} ({run.number_format}, run in {run.precision})" for run in runs)
    yield "package digest", _each(record.digest for record in records)
    yield "threads", _each(str(run.threads) for run in runs)
    for tool in dict.fromkeys(tool for record in records for tool in record.versions):
        yield tool, _each(record.versions[tool] for record in records if tool in record.versions)
    yield "first case started", min(record.started for record in records).isoformat(" ", "seconds")
    yield "last case finished", max(record.finished for record in records).isoformat(" ", "seconds")


def _each(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values)) or "-"
