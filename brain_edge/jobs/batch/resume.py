"""Results of an earlier run: finished cases, and outputs that were changed since."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from brain_edge.jobs.record import CaseStatus, relative_path
from brain_edge.package.digest import sha256_of
from brain_edge.package.reader import digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brain_edge.jobs.case import Job
    from brain_edge.jobs.record import CaseRecord, FileRecord
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage


@dataclass(frozen=True)
class MadeBy:
    """What makes the masks of a batch, besides the images.

    Attributes:
        digest: digest of the package.
        prepared_by: stage 0 and atlas that the user gave, and whether the images were taken as they are.
    """

    digest: str
    prepared_by: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, package: ModelPackage, options: RuntimeOptions) -> MadeBy:
        """Return what makes the masks; a package without a preparation depends on itself alone."""
        if not package.spec.preparation:
            return cls(package.digest)
        given = {
            "stage 0": None if options.stage_zero is None else digest_of(options.stage_zero),
            "atlas": None if options.atlas is None or not options.atlas.is_file() else sha256_of(options.atlas),
            "as they are": "yes" if options.as_they_are else None,
        }
        return cls(package.digest, {name: text for name, text in given.items() if text is not None})


class Standing(StrEnum):
    """State of a case before this run."""

    FINISHED = "finished"
    """The outputs exist, and a run would make the same outputs now."""
    CHANGED = "changed"
    """An output differs from the record (corrected by hand, damaged, of another program), and is not replaced."""
    OPEN = "open"
    """The case has to run."""


def standing(
    record: CaseRecord | None, job: Job, inputs: Mapping[str, FileRecord], made_by: MadeBy, folder: Path
) -> Standing:
    """Return the state of a case from the content of its files, never from their dates.

    Args:
        record: record of an earlier run, if any.
        job: the job now.
        inputs: images and their content, per sequence.
        made_by: package and what its preparation takes.
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
    if record is not None and is_done and _asks_the_same(record, job, inputs, made_by):
        return Standing.FINISHED
    return Standing.OPEN


def is_as_recorded(file: FileRecord, path: Path) -> bool:
    """Return True if a file has the bytes that a record states."""
    return path.is_file() and path.stat().st_size == file.size_bytes and sha256_of(path) == file.sha256


def _asks_the_same(record: CaseRecord, job: Job, inputs: Mapping[str, FileRecord], made_by: MadeBy) -> bool:
    hashes = {name: file.sha256 for name, file in inputs.items()}
    digest = made_by.digest
    return (
        None not in hashes.values()
        and hashes == {name: file.sha256 for name, file in record.inputs.items()}
        and (record.digest, record.series) == (digest, dict(job.series))
        and (record.border_mm, record.strict) == (job.outputs.border_mm, job.outputs.strict)
        and (record.prepared_by, record.on) == (made_by.prepared_by, job.outputs.on)
    )
