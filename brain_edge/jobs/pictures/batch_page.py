"""Write a batch as one HTML page: every mask with volumes and flags, offline, with or without JavaScript.

The page is text, style and script in one file. Pictures are links to the PNG files beside the page, loaded on
scrolling, because a thousand embedded pictures would make a page of a gigabyte. The template engine escapes all text
from records and file names. The security policy of the page allows this script only, and only pictures to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.jobs import outliers
from brain_edge.jobs.pictures.batch_view import Status, read_batch
from brain_edge.jobs.pictures.html import PATIENTS, asset, environment
from brain_edge.machine.atomic import atomic_file, remove_leftovers
from brain_edge.package.manifest import IntendedUse

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.jobs.pictures.batch_view import BatchView, CaseView

PAGE: Final = "index.html"
SYMBOLS: Final = {Status.FAILED: "✗", Status.LOOK: "!", Status.DONE: "✓"}
ANY_FLAG: Final = "any flag"


def write_batch_page(folder: Path) -> Path:
    """Write `index.html` into the folder with the records of a batch, and return its path.

    Raises:
        InputError: the folder holds no record.
        OutputError: the page cannot be written.
    """
    path = folder / PAGE
    html = page(read_batch(folder))
    remove_leftovers([path])
    with atomic_file(path) as partial:
        # a file name that is not Unicode is shown with question marks; its link keeps the exact bytes
        partial.write_bytes(html.encode("utf-8", "replace"))
    return path


def page(batch: BatchView) -> str:
    """Return the HTML of a batch."""
    from markupsafe import Markup

    templates = environment()
    templates.filters["tags"] = _tags
    return templates.from_string(asset("batch_page.html")).render(
        batch=batch,
        style=Markup(asset("batch_page.css")),  # noqa: S704 - files of this package
        script=Markup(asset("batch_page.js")),  # noqa: S704
        warnings=_warnings(batch),
        counts={
            "cases": len(batch.cases),
            "failed": batch.count(Status.FAILED),
            "done": len(batch.cases) - batch.count(Status.FAILED),
            "of these flagged": batch.count(Status.LOOK),
        },
        choices=_choices(batch),
        statuses=list(Status),
        symbols=SYMBOLS,
        meanings=_meanings(batch),
    )


def _tags(case: CaseView) -> str:
    """Return the tags by which a row is filtered, as JSON."""
    kinds = sorted({mark.kind for mark in case.marks})
    return msgspec.json.encode([case.status.value, *([ANY_FLAG, *kinds] if kinds else [])]).decode()


def _warnings(batch: BatchView) -> list[str]:
    patients = [PATIENTS] if any(case.picture for case in batch.cases) else []
    return [line for line in dict.fromkeys((IntendedUse.RESEARCH, batch.intended_use, *patients)) if line]


def _choices(batch: BatchView) -> list[tuple[str, str, int]]:
    """Return the filters of the table: value, words, number of cases."""
    return [
        ("", "all cases", len(batch.cases)),
        (Status.FAILED.value, "failed", batch.count(Status.FAILED)),
        (ANY_FLAG, ANY_FLAG, sum(bool(case.marks) for case in batch.cases)),
        *((kind, f"flag: {kind}", count) for kind, count in batch.kinds().items()),
    ]


def _meanings(batch: BatchView) -> dict[str, str]:
    """Return the meaning and the limit of each flag, with the limits that were applied."""
    compared = f"robust z above {outliers.FAR:g}, from {outliers.LEAST_CASES} cases on"
    meanings = {
        "implausible ...": "outside the range that the package of the model states for images and masks",
        outliers.OutlierKind.VOLUME: "compared with the other cases by median and MAD of the logarithms: "
        f"{compared}, and at least a factor of {outliers.LEAST_FACTOR:g}",
        outliers.OutlierKind.COMPONENTS: f"more than twice as many pieces as usual in this batch ({compared})",
        outliers.OutlierKind.BORDER: f"more than {outliers.LEAST_BORDER_SHARE:.1%} of a label in the outermost layer "
        "of the image",
    }
    if any(measure.agreement is not None for case in batch.cases for measure in case.measures.values()):
        words = f"a member of the ensemble has a Dice below {outliers.LEAST_AGREEMENT:g} with the ensemble"
        meanings[outliers.OutlierKind.AGREEMENT] = words
    return meanings
