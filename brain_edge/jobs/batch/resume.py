"""Results of an earlier run: finished cases, changed outputs, and partial files of a killed run."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from brain_edge.jobs.record import CaseStatus, relative_path
from brain_edge.package.digest import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from brain_edge.jobs.case import Job
    from brain_edge.jobs.record import CaseRecord, FileRecord

_PARTIAL: Final = re.compile(r"(?:\.partial-[0-9a-f]{8}-)+(.+)")
"""Names of partial files (`brain_edge.machine.atomic`); a file staged by two layers has two of these prefixes."""


class Standing(StrEnum):
    """State of a case before this run."""

    FINISHED = "finished"
    """The outputs exist, and a run would make the same outputs now."""
    CHANGED = "changed"
    """An output differs from the record (corrected by hand, damaged, of another program), and is not replaced."""
    OPEN = "open"
    """The case has to run."""


def standing(
    record: CaseRecord | None, job: Job, inputs: Mapping[str, FileRecord], digest: str, folder: Path
) -> Standing:
    """Return the state of a case from the content of its files, never from their dates.

    Args:
        record: record of an earlier run, if any.
        job: the job now.
        inputs: images and their content, per sequence.
        digest: digest of the package.
        folder: folder of the record.
    """
    wanted = job.outputs.files()
    there = {kind: path for kind, path in wanted.items() if path.exists()}
    written = {} if record is None else record.outputs
    for kind, path in there.items():
        file = written.get(kind)
        if file is None or file.path != relative_path(path, folder) or not is_as_recorded(file, path):
            return Standing.CHANGED
    is_done = record is not None and record.status is CaseStatus.DONE and len(there) == len(wanted)
    if record is not None and is_done and _asks_the_same(record, job, inputs, digest):
        return Standing.FINISHED
    return Standing.OPEN


def is_as_recorded(file: FileRecord, path: Path) -> bool:
    """Return True if a file has the bytes that a record states."""
    return path.is_file() and path.stat().st_size == file.size_bytes and sha256_of(path) == file.sha256


def remove_leftovers(outputs: Iterable[Path]) -> None:
    """Remove partial files that a killed process left for these outputs; only the caller writes to them."""
    by_folder: dict[Path, set[str]] = {}
    for path in outputs:
        by_folder.setdefault(path.resolve().parent, set()).add(path.name)
    for folder, names in by_folder.items():
        for path in folder.iterdir() if folder.is_dir() else ():
            found = _PARTIAL.fullmatch(path.name)
            if found is not None and found[1] in names:
                path.unlink(missing_ok=True)


def _asks_the_same(record: CaseRecord, job: Job, inputs: Mapping[str, FileRecord], digest: str) -> bool:
    hashes = {name: file.sha256 for name, file in inputs.items()}
    return (
        None not in hashes.values()
        and hashes == {name: file.sha256 for name, file in record.inputs.items()}
        and (record.digest, record.series) == (digest, dict(job.series))
        and (record.border_mm, record.strict) == (job.outputs.border_mm, job.outputs.strict)
    )
