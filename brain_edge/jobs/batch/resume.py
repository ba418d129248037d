"""Results of an earlier run: finished cases, and outputs that were changed since."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from brain_edge.errors import InputError
from brain_edge.jobs.record import CaseStatus, relative_path
from brain_edge.machine.stamp import stamp_or_none
from brain_edge.package.digest import sha256_of
from brain_edge.package.reader import digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brain_edge.jobs.case import Job
    from brain_edge.jobs.record import CaseRecord, FileRecord
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.machine.stamp import Stamp
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


@dataclass(frozen=True)
class Found:
    """State of a case.

    Attributes:
        standing: what to do with the case.
        record: record of the earlier run, a new one if a file has another stamp now; None unless the case is finished.
    """

    standing: Standing
    record: CaseRecord | None = None


def find(record: CaseRecord | None, job: Job, made_by: MadeBy, folder: Path, *, check: bool = False) -> Found:
    """Return the state of a case, from the stamps of its files, or from their content where a stamp differs.

    Args:
        record: record of an earlier run, if any.
        job: the job now.
        made_by: package and what its preparation takes.
        folder: folder of the record.
        check: compare the content of every file.

    Raises:
        OSError: an output cannot be examined.
    """
    written = {} if record is None else record.outputs
    outputs: dict[str, FileRecord] = {}
    wanted = job.outputs.files()
    for kind, path in wanted.items():
        stamp = stamp_or_none(path)
        if stamp is None:
            continue
        file = written.get(kind)
        same = _unchanged(file, path, stamp, check=check) if file and _is_at(file, path, folder) else None
        if same is None:
            return Found(Standing.CHANGED)
        outputs[kind] = same
    if record is None or record.status is not CaseStatus.DONE or len(outputs) < len(wanted):
        return Found(Standing.OPEN)
    if not _asks_the_same(record, job, made_by):
        return Found(Standing.OPEN)
    inputs = _same_inputs(record.inputs, job.inputs, check=check)
    if inputs is None:
        return Found(Standing.OPEN)
    outputs = {kind: outputs.get(kind, file) for kind, file in record.outputs.items()}
    if _are_the_same(inputs, record.inputs) and _are_the_same(outputs, record.outputs):
        return Found(Standing.FINISHED, record)
    return Found(Standing.FINISHED, msgspec.structs.replace(record, inputs=inputs, outputs=outputs))


def unchanged(file: FileRecord, path: Path, *, check: bool = False) -> FileRecord | None:
    """Return a file with its stamp now if it has the content of its record, else None.

    The content is read where the stamp differs from the recorded one, or if `check` asks for it.

    Raises:
        InputError: the content cannot be read.
        OSError: the file cannot be examined.
    """
    stamp = stamp_or_none(path)
    return None if stamp is None else _unchanged(file, path, stamp, check=check)


def _unchanged(file: FileRecord, path: Path, stamp: Stamp, *, check: bool) -> FileRecord | None:
    if file.sha256 is None or stamp.size_bytes != file.size_bytes:
        return None
    is_stamped = (stamp.mtime_ns, stamp.inode) == (file.mtime_ns, file.inode)
    if is_stamped and not check:
        return file
    if sha256_of(path) != file.sha256:
        return None
    if is_stamped or stamp.is_recent():
        return file
    return msgspec.structs.replace(file, mtime_ns=stamp.mtime_ns, inode=stamp.inode)


def _same_inputs(
    recorded: Mapping[str, FileRecord], images: Mapping[str, Path], *, check: bool
) -> dict[str, FileRecord] | None:
    """Return the images with their stamps now; None if one is another, or cannot be read: a run reports the reason."""
    if recorded.keys() != images.keys():
        return None
    inputs = {}
    for name, path in images.items():
        try:
            same = unchanged(recorded[name], path, check=check)
        except (OSError, InputError):
            return None
        if same is None:
            return None
        inputs[name] = same
    return inputs


def _are_the_same(one: Mapping[str, FileRecord], other: Mapping[str, FileRecord]) -> bool:
    return all(file is other[name] for name, file in one.items())


def _is_at(file: FileRecord, path: Path, folder: Path) -> bool:
    """Return True if a recorded output has this path; links are followed only where the names differ."""
    return str(path) == f"{folder}{os.sep}{file.path}" or relative_path(path, folder) == file.path


def _asks_the_same(record: CaseRecord, job: Job, made_by: MadeBy) -> bool:
    digest = made_by.digest
    return (record.digest, record.series) == (digest, dict(job.series)) and (
        (record.border_mm, record.strict) == (job.outputs.border_mm, job.outputs.strict)
        and (record.prepared_by, record.on) == (made_by.prepared_by, job.outputs.on)
    )
