"""Write a cohort manifest as TOML, formatted for people who read and correct it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from brain_edge.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.evaluation.cohort.manifest import CaseEntry, CohortManifest, FileEntry

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


def format_manifest(manifest: CohortManifest, comment: str = "") -> str:
    """Return the text of a manifest file; `parse_manifest` reads the same manifest back.

    Raises:
        InputError: a file name is not text (bytes that are not valid Unicode).
    """
    return "\n".join(_lines(manifest, comment)) + "\n"


def _lines(manifest: CohortManifest, comment: str) -> Iterator[str]:
    if comment:
        yield f"# {comment}"
    for name in ("name", "title", "licence", "citation"):
        yield f"{name} = {_text(getattr(manifest, name))}"
    for name in ("demo", "synthetic"):
        if getattr(manifest, name):
            yield f"{name} = true"
    yield f"sequences = [{', '.join(_text(name) for name in manifest.sequences)}]"
    if manifest.labels:
        yield f"labels = {{ {', '.join(f'{value} = {label}' for value, label in manifest.labels.items())} }}"
    for case in manifest.cases:
        yield ""
        yield from _case_lines(case)


def _case_lines(case: CaseEntry) -> Iterator[str]:
    yield "[[case]]"
    yield f"subject = {_text(case.subject)}"
    yield f"visit = {_text(case.visit)}"
    yield f"split = {_text(case.split)}"
    if case.licence is not None:
        yield f"licence = {_text(case.licence)}"
    for name, image in case.inputs.items():
        key = name if _BARE_KEY.fullmatch(name) else _text(name)
        yield f"inputs.{key} = {_file(image)}"
    if case.reference is not None:
        yield f"reference = {_file(case.reference)}"


def _file(entry: FileEntry) -> str:
    return f"{{ source = {_text(entry.source)}, sha256 = {_text(entry.sha256)} }}"


def _text(value: str) -> str:
    """Return a TOML basic string: JSON's escapes are valid TOML, except for DEL, which JSON does not escape."""
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise InputError(f"{value!r}: this name is not valid Unicode; rename the file or folder")
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
