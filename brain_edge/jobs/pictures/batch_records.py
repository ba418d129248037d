"""From the records of a batch, one per case, to what its page shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from brain_edge.errors import InputError
from brain_edge.jobs.pictures.batch_view import BatchView, CaseView, Mark, in_viewing_order, with_outliers
from brain_edge.jobs.record import CaseStatus, read_case_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from brain_edge.jobs.record import CaseRecord, RunRecord


def read_batch(folder: Path) -> BatchView:
    """What there is to show of the batch whose records lie in a folder.

    Raises:
        InputError: there is no record in it.
    """
    records = read_case_records(folder)
    if not records:
        raise InputError(
            f"{folder}: expected the records of a batch (NAME_record.json), found none; name the folder that "
            "brain-edge run wrote them to"
        )
    return batch_view(records, folder)


def batch_view(records: Sequence[CaseRecord], folder: Path) -> BatchView:
    """The page of these records; a picture that is not below the folder (any more) is left out."""
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
    return CaseView(
        name=record.case,
        model=models.get(record.digest, ""),
        digest=record.digest,
        error=_failure(record),
        measures=record.measures,
        marks=tuple(Mark(f"implausible {flag.kind}", flag.message) for flag in (run.flags if run else ())),
        elapsed_ms=None if run is None else run.elapsed_ms["total"],
        peak_rss_bytes=None if run is None else run.peak_rss_bytes,
        picture=None if picture is None else _shown(picture.path, folder),
    )


def _failure(record: CaseRecord) -> str | None:
    if record.status is CaseStatus.DONE:
        return None
    return "no reason was recorded" if record.error is None else record.error.message


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
