"""Write prepared studies as one HTML page: each study with its picture, its registrations and its findings, offline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from brain_edge.jobs.pictures.batch_view import Status
from brain_edge.jobs.pictures.html import PATIENTS, asset, environment
from brain_edge.jobs.preparing.names import PICTURE
from brain_edge.jobs.record import printable
from brain_edge.machine.atomic import atomic_file, remove_leftovers
from brain_edge.package.manifest import IntendedUse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from brain_edge.jobs.preparing.one import PreparedCase

PAGE: Final = "index.html"
FIGURES: Final = {
    "displacement_mm": "moved by {:.1f} mm",
    "angle_deg": "turned by {:.1f} degrees",
    "overlap": "Dice of the brains {:.2f}",
}
"""Words about the figures of a registration that a reader of the page needs."""


@dataclass(frozen=True)
class Row:
    """One study on the page.

    Attributes:
        study: name of the study.
        status: failed, flagged or done.
        picture: path of the picture, relative to the page; None without a picture.
        done: parts that were missing and are done.
        registrations: one line for each registration, and for each comparison of brains that was not made.
        reasons: flags of the study, or its error.
        elapsed_ms: time of the study, ms; None for a study that failed.
    """

    study: str
    status: Status
    picture: str | None
    done: str
    registrations: tuple[str, ...]
    reasons: tuple[str, ...]
    elapsed_ms: float | None


def write_prepared_page(results: Sequence[PreparedCase], out: Path) -> Path:
    """Write `index.html` into the folder of the prepared studies and return its path.

    Raises:
        OutputError: the page cannot be written.
    """
    path = out / PAGE
    rows = sorted((_row(result, out) for result in results), key=lambda row: list(Status).index(row.status))
    html = _page(rows)
    remove_leftovers([path])
    with atomic_file(path) as partial:
        partial.write_bytes(html.encode("utf-8", "replace"))
    return path


def _page(rows: Sequence[Row]) -> str:
    from markupsafe import Markup

    count = {status: sum(row.status is status for row in rows) for status in Status}
    return (
        environment()
        .from_string(asset("prepared_page.html"))
        .render(
            title="Prepared studies",
            style=Markup(asset("batch_page.css")),  # noqa: S704 - a file of this package
            warnings=[IntendedUse.RESEARCH, PATIENTS],
            counts={
                "studies": len(rows),
                "failed": count[Status.FAILED],
                "prepared": len(rows) - count[Status.FAILED],
                "of these flagged": count[Status.LOOK],
            },
            rows=rows,
        )
    )


def _row(result: PreparedCase, out: Path) -> Row:
    study, record = printable(result.case), result.record
    if record is None:
        return Row(study, Status.FAILED, None, "", (), (printable(str(result.error)),), None)
    picture = next(iter(sorted(name for name in record.files if name.endswith(PICTURE))), None)
    preparation = record.preparation
    return Row(
        study,
        Status.LOOK if preparation.flags else Status.DONE,
        None if picture is None else (result.folder / picture).relative_to(out).as_posix(),
        ", ".join(preparation.parts) or "nothing was missing",
        (*(_line(name, each) for name, each in preparation.judgements.items()), *preparation.not_compared.values()),
        tuple(flag.message for flag in preparation.flags),
        record.elapsed_ms,
    )


def _line(name: str, figures: Mapping[str, float]) -> str:
    """Return a registration in words, as far as the record tells: the movement, and the overlap of the brains."""
    told = [words.format(figures[figure]) for figure, words in FIGURES.items() if figure in figures]
    return f"{name}: {', '.join(told) or 'no figures'}"
