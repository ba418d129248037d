"""A batch as one HTML page to look through: every mask, its volumes and flags, offline, with or without JavaScript.

The page is text, style and script in one file. Pictures are links to the PNG files beside it, loaded when they are
scrolled to: a thousand of them would make a page of a gigabyte. What comes from records and file names is escaped,
and the page's own policy lets a browser run this script and no other, and fetch nothing but pictures.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec

from brain_edge.jobs import outliers
from brain_edge.jobs.pictures.batch_records import read_batch
from brain_edge.jobs.pictures.batch_view import Status
from brain_edge.machine.atomic import atomic_file
from brain_edge.package.manifest import INTENDED_USE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from brain_edge.jobs.pictures.batch_view import BatchView, CaseView

PAGE: Final = "index.html"
PATIENTS: Final = "This page CONTAINS PATIENT IMAGES: treat it and the pictures beside it like the images themselves."
HINT: Final = (
    "Failed cases come first, then those with most flags. A picture opens larger. Memory is the peak of the process "
    "up to the end of the case."
)
NOTHING: Final = '<span class="faint">none</span>'
SYMBOLS: Final = {Status.FAILED: "✗", Status.LOOK: "!", Status.DONE: "✓"}
CLASSES: Final = {Status.FAILED: "failed", Status.LOOK: "look", Status.DONE: "done"}
ANY_FLAG: Final = "any flag"
MIB: Final = 2**20


def write_batch_page(folder: Path) -> Path:
    """Write `index.html` into the folder that holds the records of a batch; its path.

    Raises:
        InputError: there is no record in the folder.
        OutputError: the page cannot be written.
    """
    path = folder / PAGE
    html = page(read_batch(folder))
    with atomic_file(path) as partial:
        # a file name that is not Unicode is shown with question marks; links have its very bytes
        partial.write_bytes(html.encode("utf-8", "replace"))
    return path


def page(batch: BatchView) -> str:
    """The HTML of a batch."""
    style, script = _asset("batch_page.css"), _asset("batch_page.js")
    policy = (
        f"default-src 'none'; img-src 'self' file:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    body = "\n".join(_sections(batch))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(batch.title)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n{body}\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return files("brain_edge.jobs.pictures").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _sections(batch: BatchView) -> Iterator[str]:
    yield f"<main>\n<h1>{escape(batch.title)}</h1>"
    yield _warning(batch)
    yield _counts(batch)
    yield _controls(batch)
    yield _table(batch)
    yield _meanings(batch)
    yield _origin(batch.origin)
    yield "</main>"
    yield _dialog()


def _warning(batch: BatchView) -> str:
    words = list(dict.fromkeys((INTENDED_USE, batch.intended_use)))
    if any(case.picture for case in batch.cases):
        words.append(PATIENTS)
    return f'<div class="warning">{"".join(f"<p>{escape(line)}</p>" for line in words if line)}</div>'


def _counts(batch: BatchView) -> str:
    done = len(batch.cases) - batch.count(Status.FAILED)
    counts = {
        "cases": len(batch.cases),
        "failed": batch.count(Status.FAILED),
        "done": done,
        "of these flagged": batch.count(Status.LOOK),
    }
    return f'<dl class="counts">{"".join(f"<div><dt>{what}</dt><dd>{n}</dd></div>" for what, n in counts.items())}</dl>'


def _controls(batch: BatchView) -> str:
    """Hidden until the script shows them: they do nothing without it."""
    choices = {
        "": ("all cases", len(batch.cases)),
        Status.FAILED.value: ("failed", batch.count(Status.FAILED)),
        ANY_FLAG: (ANY_FLAG, sum(bool(case.marks) for case in batch.cases)),
        **{kind: (f"flag: {kind}", count) for kind, count in batch.kinds().items()},
    }
    options = "".join(
        f'<option value="{escape(value)}">{escape(words)} ({count})</option>'
        for value, (words, count) in choices.items()
    )
    return (
        '<div class="controls" role="search" aria-label="Cases" hidden>'
        '<label>Words in a row <input type="search" id="words" autocomplete="off"></label>'
        f'<label>Show <select id="only">{options}</select></label>'
        '<button type="button" id="resort">Failed and flagged first</button>'
        '<p class="shown" role="status" id="shown"></p></div>'
    )


def _table(batch: BatchView) -> str:
    labels = batch.labels()
    heads = (
        *(_head("Case"), _head("Picture", is_sortable=False), _head("Status", is_number=True, is_aligned=False)),
        *(_head(f"{label} (ml)", is_number=True) for label in labels),
        _head("Components", is_number=True),
        _head("Flags, or why it failed", is_number=True, is_aligned=False),
        *(_head("Time (s)", is_number=True), _head("Memory (MiB)", is_number=True), _head("Model")),
    )
    rows = "\n".join(_row(case, labels) for case in batch.cases)
    return (
        f'<p class="faint" id="hint">{HINT}</p>\n'
        '<div class="scroll" role="region" aria-label="Table of cases" tabindex="0">'
        '<table id="cases" aria-describedby="hint"><caption>Cases</caption>\n'
        f"<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _head(words: str, *, is_number: bool = False, is_sortable: bool = True, is_aligned: bool = True) -> str:
    sortable = " data-sortable" if is_sortable else ""
    number = " data-number" if is_number else ""
    number += ' class="number"' if is_number and is_aligned else ""
    return f'<th scope="col"{sortable}{number}>{escape(words)}</th>'


def _row(case: CaseView, labels: Sequence[str]) -> str:
    kinds = sorted({mark.kind for mark in case.marks})
    tags = [case.status.value, *([ANY_FLAG, *kinds] if kinds else [])]
    rank = list(Status).index(case.status)
    volumes = [case.measures[label].volume_ml if label in case.measures else None for label in labels]
    cells = (
        f'<th scope="row">{escape(case.name)}</th>',
        f"<td>{_picture(case)}</td>",
        f'<td class="status" data-value="{rank}">{SYMBOLS[case.status]} {case.status}</td>',
        *(_number(volume, 1) for volume in volumes),
        _number(case.components, 0),
        _reasons(case),
        _number(case.elapsed_ms, 1, 1000.0),
        _number(case.peak_rss_bytes, 0, MIB),
        f'<td class="model">{escape(case.model)} <code class="faint">{escape(case.digest[:8])}</code></td>',
    )
    data = escape(msgspec.json.encode(tags).decode())
    return f'<tr class="{CLASSES[case.status]}" data-tags="{data}">{"".join(cells)}</tr>'


def _number(value: float | None, digits: int, unit: float = 1.0) -> str:
    """A cell that is sorted by its value and shows it in a unit; an empty one where there is none."""
    if value is None:
        return '<td class="number" data-value=""></td>'
    return f'<td class="number" data-value="{value / unit:.6g}">{value / unit:.{digits}f}</td>'


def _reasons(case: CaseView) -> str:
    """Why it failed, or its flags; sorted by their number."""
    if case.error is not None:
        return f'<td class="reasons" data-value="">{escape(case.error)}</td>'
    items = "".join(f"<li><b>{escape(mark.kind)}:</b> {escape(mark.message)}</li>" for mark in case.marks)
    return f'<td class="reasons" data-value="{len(case.marks)}">{f"<ul>{items}</ul>" if items else NOTHING}</td>'


def _picture(case: CaseView) -> str:
    if case.picture is None:
        return NOTHING
    # "./" keeps a name with a colon from being a scheme
    link = escape("./" + quote(case.picture.encode("utf-8", "surrogateescape")))
    return (
        f'<a class="picture" href="{link}"><img src="{link}" alt="{escape(case.sentence())}" '
        'width="208" height="208" loading="lazy" decoding="async"></a>'
    )


def _meanings(batch: BatchView) -> str:
    """What each flag means and from where on it is raised; the figures are those that were applied."""
    compared = f"robust z above {outliers.FAR:g}, from {outliers.LEAST_CASES} cases on"
    meanings = {
        "implausible ...": "outside of the range that the package of the model states for images and masks",
        outliers.OutlierKind.VOLUME: "compared with the other cases by median and MAD of the logarithms: "
        f"{compared}, and at least a factor of {outliers.LEAST_FACTOR:g}",
        outliers.OutlierKind.COMPONENTS: f"more than twice as many pieces as usual in this batch ({compared})",
        outliers.OutlierKind.BORDER: f"more than {outliers.LEAST_BORDER_SHARE:.1%} of a label in the outermost layer "
        "of the image",
    }
    if any(measure.agreement is not None for case in batch.cases for measure in case.measures.values()):
        words = f"a member of the ensemble agrees with all together at Dice below {outliers.LEAST_AGREEMENT:g}"
        meanings[outliers.OutlierKind.AGREEMENT] = words
    rows = "".join(
        f'<tr><th scope="row">{escape(kind)}</th><td>{escape(words)}</td></tr>' for kind, words in meanings.items()
    )
    return f'<h2>What the flags mean</h2>\n<table class="origin"><tbody>{rows}</tbody></table>'


def _origin(origin: Mapping[str, str]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(what)}</th><td><code>{escape(which)}</code></td></tr>'
        for what, which in origin.items()
    )
    return f'<h2>Where the masks come from</h2>\n<table class="origin"><tbody>{rows}</tbody></table>'


def _dialog() -> str:
    return (
        '<dialog id="large" aria-labelledby="large-name" aria-describedby="large-words">'
        '<div class="bar"><h2 id="large-name"></h2><div class="buttons">'
        '<span id="large-place"></span>'
        '<button type="button" id="previous">← Previous</button><button type="button" id="next">Next →</button>'
        '<a id="large-file" href="#cases">Picture file</a>'
        '<button type="button" id="close" autofocus>Close (Esc)</button></div></div>'
        '<p id="large-words" aria-live="polite"></p><img alt=""></dialog>'
    )
