"""Record of a run: inputs, outputs, package, and flags."""

from __future__ import annotations

import os
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET, UnsetType

from brain_edge import __version__
from brain_edge.errors import InputError
from brain_edge.image.contrast import Contrast
from brain_edge.jobs.outliers import LabelMeasure
from brain_edge.machine.atomic import atomic_file
from brain_edge.machine.json import decode_json
from brain_edge.machine.paths import read_small
from brain_edge.machine.stamp import stamp_of
from brain_edge.package import WeightsStatus
from brain_edge.package.digest import sha256_of
from brain_edge.preparation.record import PreparationRecord
from brain_edge.spec.plausibility import Flag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brain_edge.io.dicom import SeriesInfo
    from brain_edge.package import ModelPackage


UNFIT: Final = {WeightsStatus.RANDOM: "UNTRAINED ", WeightsStatus.FIT_FOR_TESTING: "FIT FOR TESTING "}
"""Words before the name of the program in every file that unfit weights have made."""


class SeriesRecord(msgspec.Struct, frozen=True, kw_only=True):
    """DICOM series that was read, without its free texts.

    Attributes:
        name: number of the series and the last digits of its UID.
        contrast: contrast that the header states; None if it states none.
        notes: remarks for a careful reader.
    """

    name: str
    contrast: Contrast | None
    notes: list[str]


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Record of one case.

    Attributes:
        model, digest, weights_status: facts about the package; `precision` and `number_format` are those of the run.
        inputs: file per sequence, as the user named it.
        series: DICOM series that was read, per sequence.
        mask: file that was written; `brain`, `probabilities` and `picture` are None unless requested.
        border_mm: width of the margin around the mask; the flags are those of the mask without the margin.
        volumes_ml: volume by label name, counted in `mask` on its grid, as in the flags of volumes.
        member_agreement: Dice, by label name, of the ensemble's mask with the member (or mirroring) that differs most;
            empty if a network runs once.
        flags: implausible properties.
        threads: number of inference threads; the last digits of INT8 with instance norm depend on it.
        elapsed_ms: time per stage; `read`, `write` and `total` are those of this case, without program start.
        peak_rss_bytes: peak memory of this process so far.
        preparation: preparation of the study; omitted if the model takes images as they are.
        also: further masks by the sequence whose grid they have; omitted without any.
    """

    model: str
    digest: str
    weights_status: str
    number_format: str
    precision: str
    intended_use: str
    inputs: dict[str, str]
    series: dict[str, SeriesRecord]
    mask: str
    brain: str | None
    probabilities: str | None
    picture: str | None
    border_mm: float
    volumes_ml: dict[str, float]
    member_agreement: dict[str, float]
    flags: tuple[Flag, ...]
    threads: int
    elapsed_ms: dict[str, float]
    peak_rss_bytes: int | None
    preparation: PreparationRecord | UnsetType = UNSET
    also: dict[str, str] | UnsetType = UNSET
    brain_edge: str = __version__


RECORD_SUFFIX: Final = "_record.json"
"""End of the name of a record, after the name of its case."""


class CaseStatus(StrEnum):
    """State of a case of a batch."""

    DONE = "done"
    FAILED = "failed"
    WRITING = "writing"
    """The outputs are getting their final names. A killed run leaves this state, and the case is run again."""


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """File and its content.

    Attributes:
        path: input as the user named it; output relative to the folder of the record, with "/".
        size_bytes, sha256: size and hash of the content; None for a folder or a file that cannot be read.
        mtime_ns, inode: stamp of the file when its hash was taken; None where the file may have changed just then.
    """

    path: str
    size_bytes: int | None
    sha256: str | None
    mtime_ns: int | None = None
    inode: int | None = None


class ErrorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Failure of a case: message for the user, class of the error, and exit code of a single run."""

    message: str
    kind: str
    exit_code: int


class CaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One case of a batch, as `NAME_record.json`; "done" is written last, so a case with it is complete.

    Attributes:
        case: name of the case, unique in the batch.
        status: done, failed, or writing while the outputs appear.
        inputs: file per sequence.
        series: chosen DICOM series per sequence.
        digest: digest of the package.
        border_mm, strict: options of the run. The outputs depend on them, on the inputs and on the package.
        on: sequence whose grid the mask has, if the user named one.
        prepared_by: stage 0 and atlas that the user gave, and whether the images were taken as they are.
        outputs: files of this case that exist, by kind (`mask`, `picture` and so on); for a failed case, those of an
            earlier run.
        run: record of the run; None for a failed case.
        measures: measures of the mask by label name, for the comparison with the other cases.
        error: failure; None for a finished case.
        started, finished: times in UTC.
        rss_bytes: memory of the process after this case; the peak so far is in `run`.
        versions: versions of the software that computed the case.
        format_version: version of this record's format.
    """

    case: str
    status: CaseStatus
    inputs: dict[str, FileRecord]
    series: dict[str, str]
    digest: str
    border_mm: float
    strict: bool
    outputs: dict[str, FileRecord]
    run: RunRecord | None
    measures: dict[str, LabelMeasure]
    error: ErrorRecord | None
    started: datetime
    finished: datetime
    rss_bytes: int | None
    versions: dict[str, str]
    on: str | None = None
    prepared_by: dict[str, str] = {}
    format_version: int = 1


def record_path(folder: Path, case: str) -> Path:
    """Return the path of the record of a case."""
    return folder / f"{case}{RECORD_SUFFIX}"


def write_case_record(record: CaseRecord, path: Path, staging: Path | None = None) -> None:
    """Write a record, completely or not at all.

    Args:
        record: record to write.
        path: file to write.
        staging: folder of the file while it is written; by default the folder of `path`.

    Raises:
        OutputError: the record cannot be written.
    """
    with atomic_file(path, staging) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2))


def read_case_record(path: Path) -> CaseRecord | None:
    """Read a record; None if it is missing, damaged or of another format.

    Raises:
        InputError: the record cannot be read, as on a share that does not answer.
    """
    try:
        return decode_json(read_small(path), CaseRecord)
    except (FileNotFoundError, NotADirectoryError, InputError, msgspec.DecodeError):
        return None
    except OSError as error:
        raise InputError(
            f"{path}: the record cannot be read ({error.strerror}); check the share and its permissions, and run again"
        ) from error


def input_record(path: Path) -> FileRecord:
    """Return an input and its content, as far as it can be read."""
    try:
        if path.is_file():
            return _file_record(printable(path), path)
    except (OSError, InputError):
        pass  # the reader comes next and reports the reason
    return FileRecord(path=printable(path), size_bytes=None, sha256=None)


def output_record(content: Path, name: Path, folder: Path) -> FileRecord:
    """Return an output: the bytes of `content` under its final name, relative to the folder of the record."""
    return _file_record(relative_path(name, folder), content, is_ours=True)


def _file_record(name: str, path: Path, *, is_ours: bool = False) -> FileRecord:
    """Return a file under a name, with a stamp unless another program may change the file just now."""
    stamp, digest = stamp_of(path), sha256_of(path)
    if not is_ours and (stamp.is_recent() or stamp_of(path) != stamp):
        return FileRecord(path=name, size_bytes=stamp.size_bytes, sha256=digest)
    return FileRecord(path=name, size_bytes=stamp.size_bytes, sha256=digest, mtime_ns=stamp.mtime_ns, inode=stamp.inode)


def relative_path(path: Path, folder: Path) -> str:
    """Return a path relative to a folder, so that both can move together; absolute on another Windows drive."""
    try:
        relative = os.path.relpath(path.resolve(), folder.resolve())
    except ValueError:  # another drive
        return path.resolve().as_posix()
    return printable(Path(relative).as_posix())


def printable(text: Path | str) -> str:
    """Return a name as text that can be written; bytes that are not UTF-8 become backslash escapes."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def series_records(series: Mapping[str, SeriesInfo]) -> dict[str, SeriesRecord]:
    """Return the series as records."""
    return {
        name: SeriesRecord(name=info.name, contrast=info.finding.contrast, notes=list(info.notes))
        for name, info in series.items()
    }


def provenance(package: ModelPackage) -> str:
    """Return the description that a mask carries; the model's name is last, because writers cut a long text."""
    mark = UNFIT.get(package.manifest.weights_status, "")
    return f"RESEARCH ONLY {mark}brain-edge {__version__} {package.digest[:16]} {package.spec.name}"
