"""The record of a run: what was made of what, by which package, and what is suspicious about it."""

from __future__ import annotations

import os
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge import __version__
from brain_edge.errors import InputError
from brain_edge.image.contrast import Contrast
from brain_edge.jobs.outliers import LabelMeasure
from brain_edge.machine.atomic import atomic_file
from brain_edge.machine.json import decode_json
from brain_edge.package import WeightsStatus
from brain_edge.package.digest import sha256_of
from brain_edge.spec.plausibility import Flag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brain_edge.io.dicom import SeriesInfo
    from brain_edge.package import ModelPackage


UNFIT: Final = {WeightsStatus.RANDOM: "UNTRAINED ", WeightsStatus.FIT_FOR_TESTING: "FIT FOR TESTING "}
"""What stands before the name of the program in every file that such weights have made."""


class SeriesRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The DICOM series that was read, without a word of its free texts.

    Attributes:
        name: its number and the last digits of its UID.
        contrast: as the header tells it; None where it does not.
        notes: what a careful reader should know.
    """

    name: str
    contrast: Contrast | None
    notes: list[str]


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one case.

    Attributes:
        model, digest, weights_status: of the package; `precision` and `number_format` as it was run.
        inputs: what the user named, per sequence.
        series: the one that was read, where the input is DICOM.
        mask: file that was written; `brain`, `probabilities` and `picture` where they were asked for.
        border_mm: added around the mask; the flags are those of the mask without it.
        volumes_ml: per label name.
        member_agreement: how well the member of an ensemble, or the mirroring, that differs most agrees with all
            together (Dice, by label name); empty where a network runs once.
        flags: what is not plausible.
        threads: of the inference; the last digits of INT8 with instance norm depend on them.
        elapsed_ms: per stage; `read`, `write` and `total` are of this case, without program start.
        peak_rss_bytes: of this process so far.
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
    brain_edge: str = __version__


RECORD_SUFFIX: Final = "_record.json"
"""What the name of a case is followed by in the name of its record."""


class CaseStatus(StrEnum):
    """How a case of a batch ended."""

    DONE = "done"
    FAILED = "failed"
    WRITING = "writing"
    """Its outputs are taking their names. A run that was killed then leaves this: it is run again."""


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A file by its content.

    Attributes:
        path: of an input as the user named it; of an output relative to the folder of the record, with "/".
        size_bytes, sha256: of its bytes; None of what has none (a folder) or could not be read.
    """

    path: str
    size_bytes: int | None
    sha256: str | None


class ErrorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Why a case failed: the sentence that the user was told, the class, and what a single run would exit with."""

    message: str
    kind: str
    exit_code: int


class CaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One case of a batch, as `NAME_record.json`; "done" is written last, so that a case with it is whole.

    Attributes:
        case: its name, unique in the batch.
        status: done, failed, or in the moment when the outputs appear, writing.
        inputs: per sequence.
        series: choices of DICOM series.
        digest: of the package.
        border_mm, strict: as asked for. With the hashes of the inputs and the digest they decide the outputs.
        outputs: files of this case that are in place, by what they are (`mask`, `picture` and so on); of a failed
            case those of an earlier run.
        run: what happened; None of a failed case.
        measures: of the mask, by the name of the label, for the comparison with the other cases.
        error: why it failed; None of a case that is done.
        started, finished: UTC.
        rss_bytes: memory of the process after this case; its peak so far is in `run`.
        versions: of what computed it.
        format_version: of this record.
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
    format_version: int = 1


def record_path(folder: Path, case: str) -> Path:
    """Where the record of a case lies."""
    return folder / f"{case}{RECORD_SUFFIX}"


def write_case_record(record: CaseRecord, path: Path) -> None:
    """Write a record, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_file(path) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2))


def read_case_record(path: Path) -> CaseRecord | None:
    """A record; None where there is none, or a damaged one, or one of another format."""
    try:
        return decode_json(path.read_bytes(), CaseRecord)
    except (OSError, msgspec.DecodeError):
        return None


def read_case_records(folder: Path) -> tuple[CaseRecord, ...]:
    """The records of all cases in a folder that have ended, by name of the case; damaged ones are left out."""
    paths = (path for path in folder.glob(f"*{RECORD_SUFFIX}") if not path.name.startswith("."))
    records = [record for path in paths if (record := read_case_record(path)) is not None]
    ended = [record for record in records if record.status is not CaseStatus.WRITING]
    return tuple(sorted(ended, key=lambda record: record.case))


def input_record(path: Path) -> FileRecord:
    """An input by its content, as far as it can be read."""
    try:
        if path.is_file():
            return FileRecord(path=printable(path), size_bytes=path.stat().st_size, sha256=sha256_of(path))
    except (OSError, InputError):
        pass  # the reader, which comes next, says why
    return FileRecord(path=printable(path), size_bytes=None, sha256=None)


def output_record(content: Path, name: Path, folder: Path) -> FileRecord:
    """An output: its bytes as they lie in `content`, under the name that it gets, seen from the record's folder."""
    return FileRecord(path=relative_path(name, folder), size_bytes=content.stat().st_size, sha256=sha256_of(content))


def relative_path(path: Path, folder: Path) -> str:
    """A path as seen from a folder, so that both can be moved together; absolute where Windows has no such path."""
    try:
        relative = os.path.relpath(path.resolve(), folder.resolve())
    except ValueError:  # another drive
        return path.resolve().as_posix()
    return printable(Path(relative).as_posix())


def printable(text: Path | str) -> str:
    """A name as text that can be written; bytes that are no UTF-8 become backslash escapes."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def series_records(series: Mapping[str, SeriesInfo]) -> dict[str, SeriesRecord]:
    """Series as they are written."""
    return {
        name: SeriesRecord(name=info.name, contrast=info.finding.contrast, notes=list(info.notes))
        for name, info in series.items()
    }


def provenance(package: ModelPackage) -> str:
    """What a mask says of its maker; the name of the model is last, because writers cut what has no room."""
    mark = UNFIT.get(package.manifest.weights_status, "")
    return f"RESEARCH ONLY {mark}brain-edge {__version__} {package.digest[:16]} {package.spec.name}"
