"""What the page of a batch shows, from the records of its cases, in the order in which it should be looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from brain_edge.errors import InputError
from brain_edge.jobs.outliers import find_outliers
from brain_edge.jobs.record import CaseStatus, read_case_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from brain_edge.jobs.outliers import LabelMeasure
    from brain_edge.jobs.record import CaseRecord, RunRecord


class Status(StrEnum):
    """What became of a case, worst first."""

    FAILED = "failed"
    """It has no mask."""
    LOOK = "look at it"
    """It has a mask, and a flag."""
    DONE = "done"
    """It has a mask, and nothing is suspicious about it."""


@dataclass(frozen=True)
class Mark:
    """Something to look at.

    Attributes:
        kind: a few words, by which the page is filtered.
        message: one sentence.
    """

    kind: str
    message: str


@dataclass(frozen=True, kw_only=True)
class CaseView:
    """One row.

    Attributes:
        name: of the case.
        model: and `digest` of its package.
        error: why it failed, in one sentence; None where it did not.
        measures: by label name.
        marks: what the plausibility check found, and later what makes it stand out in the batch.
        elapsed_ms: of the whole case.
        peak_rss_bytes: of the process by then.
        picture: path of the mosaic from the folder of the page, with "/".
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
        """What became of it."""
        if self.error is not None:
            return Status.FAILED
        return Status.LOOK if self.marks else Status.DONE

    @property
    def components(self) -> int | None:
        """Pieces of all labels together, or None where they were not counted."""
        counts = [measure.components for measure in self.measures.values() if measure.components is not None]
        return sum(counts) if counts else None

    def sentence(self) -> str:
        """What its picture shows, for who does not see it."""
        labels = " and ".join(self.measures) or "no"
        volumes = ", ".join(f"{name} {measure.volume_ml:.0f} ml" for name, measure in self.measures.items())
        flags = "; ".join(mark.message for mark in self.marks) or "none"
        return f"{labels} mask of {self.name}: {volumes or 'no volume'}; flags: {flags}"


@dataclass(frozen=True, kw_only=True)
class BatchView:
    """The whole page.

    Attributes:
        title: of the page.
        intended_use: of the model, as its package says it.
        cases: in the order in which they are shown.
        origin: what made the masks: package, digest, versions, machine; name to value.
    """

    title: str
    intended_use: str
    cases: tuple[CaseView, ...]
    origin: Mapping[str, str]

    def labels(self) -> list[str]:
        """Names of all labels, in the order in which they come."""
        return list(dict.fromkeys(name for case in self.cases for name in case.measures))

    def count(self, status: Status) -> int:
        """How many cases are so."""
        return sum(case.status is status for case in self.cases)

    def kinds(self) -> dict[str, int]:
        """How many cases have a mark of each kind, the most frequent kind first."""
        kinds = [kind for case in self.cases for kind in {mark.kind for mark in case.marks}]
        return dict(sorted(((kind, kinds.count(kind)) for kind in set(kinds)), key=lambda item: (-item[1], item[0])))


def in_viewing_order(cases: Iterable[CaseView]) -> tuple[CaseView, ...]:
    """Failed cases first, then those with most marks, then by name; numbers in names count as numbers."""
    worst_first = list(Status)
    return tuple(
        sorted(cases, key=lambda case: (worst_first.index(case.status), -len(case.marks), _natural(case.name)))
    )


def with_outliers(cases: Sequence[CaseView]) -> list[CaseView]:
    """The cases with a mark for each way in which one stands out among the others."""
    found = find_outliers([case.measures for case in cases])
    return [
        replace(case, marks=(*case.marks, *(Mark(outlier.kind, outlier.message) for outlier in outliers)))
        for case, outliers in zip(cases, found, strict=True)
    ]


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which `head10` comes after `head9`."""
    return [(int(part), "") if part.isdecimal() else (-1, part.casefold()) for part in re.split(r"(\d+)", name)]


def read_batch(folder: Path) -> BatchView:
    """What there is to show of the batch whose records lie in a folder, but for pictures that are not there any more.

    Raises:
        InputError: there is no record in it.
    """
    records = read_case_records(folder)
    if not records:
        raise InputError(
            f"{folder}: expected the records of a batch (NAME_record.json), found none; name the folder that "
            "brain-edge run wrote them to"
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
    """The picture as the page links to it, where there is one that a browser can show and that moves with the page."""
    is_shown = picture.lower().endswith(".png") and not Path(picture).is_absolute()
    return picture if is_shown and (folder / picture).is_file() else None


def _origin(records: Sequence[CaseRecord], runs: Sequence[RunRecord]) -> Iterator[tuple[str, str]]:
    """What made the masks; where cases differ, every value that occurs."""
    yield "model", _each(f"{run.model} ({run.number_format}, run in {run.precision})" for run in runs)
    yield "package digest", _each(record.digest for record in records)
    yield "threads", _each(str(run.threads) for run in runs)
    for tool in dict.fromkeys(tool for record in records for tool in record.versions):
        yield tool, _each(record.versions[tool] for record in records if tool in record.versions)
    yield "first case started", min(record.started for record in records).isoformat(" ", "seconds")
    yield "last case finished", max(record.finished for record in records).isoformat(" ", "seconds")


def _each(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values)) or "-"
