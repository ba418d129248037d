"""Prepare one study from files to a folder: all of its files appear, or none."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from brain_edge import __version__
from brain_edge.errors import ImplausibleError, InputError, OutputError
from brain_edge.image.volume import Study
from brain_edge.io.nifti import write_image, write_mask
from brain_edge.jobs.record import FileRecord, input_record, printable
from brain_edge.machine.atomic import make_folder, remove_leftovers
from brain_edge.machine.atomic_folder import atomic_folder
from brain_edge.machine.json import decode_json
from brain_edge.machine.paths import read_small
from brain_edge.machine.process import peak_rss_bytes
from brain_edge.package.digest import sha256_of
from brain_edge.preparation.parts import Part
from brain_edge.preparation.record import PreparationRecord, record_of
from brain_edge.spec.preparation import Preparation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brain_edge.image.volume import Volume
    from brain_edge.jobs.preparing.cases import RawCase
    from brain_edge.preparation.prepared import Prepared
    from brain_edge.preparation.preparer import Preparer


class Outcome(StrEnum):
    """Outcome of a study in this run."""

    NEW = "new"
    KEPT = "kept"
    """Prepared by an earlier run from the same images in the same way."""
    FAILED = "failed"


class StudyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Record of a prepared study, as `CASE_preparation.json`.

    Attributes:
        case: name of the study.
        inputs: file of each sequence and its content.
        asked: preparation that was asked for.
        means: digest of stage 0 and hash of the atlas that were given.
        images: prepared image of each sequence, by file name.
        brain: brain mask, by file name; None if no skull was removed.
        files: hash of each file of the study.
        preparation: what was done.
        elapsed_ms: time of the study, ms.
        peak_rss_bytes: peak memory of this process so far.
    """

    case: str
    inputs: dict[str, FileRecord]
    asked: Preparation
    means: dict[str, str]
    images: dict[str, str]
    brain: str | None
    files: dict[str, str]
    preparation: PreparationRecord
    elapsed_ms: float
    peak_rss_bytes: int | None
    brain_edge: str = __version__
    format_version: int = 1


@dataclass(frozen=True)
class PreparedCase:
    """A study after its run.

    Attributes:
        case: name of the study.
        outcome: outcome of the run.
        folder: folder of its files.
        record: record; None for a study that failed.
        error: error of a study that failed.
    """

    case: str
    outcome: Outcome
    folder: Path
    record: StudyRecord | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class PrepareOptions:
    """Options of each study.

    Attributes:
        overwrite: True to prepare finished studies again.
        strict: True to refuse studies with flags.
        picture: True to draw a picture of each study.
        means: digest of stage 0 and hash of the atlas, for the records.
    """

    overwrite: bool = False
    strict: bool = False
    picture: bool = True
    means: Mapping[str, str] | None = None


def prepare_case(case: RawCase, preparer: Preparer, out: Path, options: PrepareOptions) -> PreparedCase:
    """Prepare one study and write its folder.

    Raises:
        InputError: an image is refused, or a registration is outside of its limits.
        ImplausibleError: a study has flags under `strict`, or stage 0 found no brain.
        OutputError: the folder cannot be written to, or has files of others; nothing of the study is left.
    """
    if case.error is not None:
        raise case.error
    folder, start = out / case.names.folder, time.perf_counter()
    asked, means = preparer.preparation, dict(options.means or {})
    from_dicom = case.read_dicom()
    inputs = {name: _input_record(path, from_dicom.get(name)) for name, path in case.inputs.items()}
    earlier = None if options.overwrite else _earlier(folder, case)
    if earlier is not None and _is_same(earlier, inputs, asked, means, folder):
        return PreparedCase(case.names.case, Outcome.KEPT, folder, earlier)
    if not options.overwrite:
        _require_own_files(folder, earlier, case.names.record)
    prepared = _prepared(case, from_dicom, preparer)
    if options.strict and prepared.flags:
        raise ImplausibleError("; ".join(flag.message for flag in prepared.flags))
    make_folder(folder.parent)
    with atomic_folder(folder, overwrite=True) as place:
        images, brain = _write(case, prepared, place)
        if options.picture:
            _draw(case, prepared, preparer, place)
        record = StudyRecord(
            case=printable(case.names.case),
            inputs=inputs,
            asked=asked,
            means=means,
            images=images,
            brain=brain,
            files={path.name: sha256_of(path) for path in sorted(place.iterdir())},
            preparation=record_of(prepared, asked),
            elapsed_ms=(time.perf_counter() - start) * 1000,
            peak_rss_bytes=peak_rss_bytes(),
        )
        (place / case.names.record).write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2))
    remove_leftovers([folder])  # of a killed process; now that the study is whole, none of them is the only copy
    return PreparedCase(case.names.case, Outcome.NEW, folder, record)


def _require_own_files(folder: Path, earlier: StudyRecord | None, record: str) -> None:
    """Refuse to replace a folder with files that somebody has added, or corrected by hand.

    Args:
        folder: folder of the study.
        earlier: record of an earlier run; None without one.
        record: name of the record.

    Raises:
        OutputError: the folder has such a file.
    """
    written = earlier.files if earlier else {}
    present = sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    ours = {path for path in present if earlier and path.name == record}
    foreign = (path for path in present if path not in ours and not _is_written(path, written))
    if other := next(foreign, None):
        raise OutputError(
            f"{folder}: expected the files of an earlier run alone, got {other.name}; move it away, choose another "
            "output folder, or give --overwrite"
        )


def _is_written(path: Path, written: Mapping[str, str]) -> bool:
    return path.is_file() and written.get(path.name) == sha256_of(path)


def _input_record(path: Path, volume: Volume | None) -> FileRecord:
    """Return an input and its content; that of a DICOM series is its grid and its values, in whatever files."""
    if volume is None:
        return input_record(path)
    content = hashlib.sha256(msgspec.json.encode([volume.geometry.shape, volume.geometry.affine.tolist()]))
    content.update(np.ascontiguousarray(volume.voxels).data)
    return FileRecord(path=printable(path), size_bytes=None, sha256=content.hexdigest())


def _prepared(case: RawCase, from_dicom: Mapping[str, Volume], preparer: Preparer) -> Prepared:
    images = {**case.read(), **from_dicom}
    volumes = {name: images[name] for name in case.inputs}
    first = next((name for name in preparer.preparation.references if name in volumes), next(iter(volumes)))
    try:
        return preparer(Study(volumes, first))
    except InputError as error:
        if any(str(path) in str(error) for path in case.inputs.values()):
            raise
        raise type(error)(f"{case.names.case}: {error}") from error


def _write(case: RawCase, prepared: Prepared, place: Path) -> tuple[dict[str, str], str | None]:
    """Write images, transforms and brain mask; return the names of the images and of the mask."""
    if case.names.raw:
        from brain_edge.jobs.preparing.description import write_sidecars

        write_sidecars(case.names, prepared, place)
    from brain_edge.registration.itk_file import write_itk

    images = {name: case.names.image(name) for name in prepared.study.volumes}
    for name, volume in prepared.study.volumes.items():
        write_image(volume, place / images[name])
    for name, transform in prepared.transforms.items():
        write_itk(transform, place / case.names.transform(name))
    if prepared.brain is None:
        return images, None
    reference = prepared.study.reference
    write_mask(prepared.brain, prepared.study.volumes[reference], place / case.names.brain(reference))
    return images, case.names.brain(reference)


def _draw(case: RawCase, prepared: Prepared, preparer: Preparer, place: Path) -> None:
    from brain_edge.jobs.pictures.prepared_view import write_prepared_view

    atlas = None
    if Part.ATLAS in prepared.parts:
        from brain_edge.preparation.transforms import open_atlas

        atlas, _ = open_atlas(preparer)
    write_prepared_view(prepared, place / case.names.picture, title=case.names.case, atlas=atlas)


def _earlier(folder: Path, case: RawCase) -> StudyRecord | None:
    try:
        return decode_json(read_small(folder / case.names.record), StudyRecord)
    except (OSError, InputError, msgspec.DecodeError):
        return None


def _is_same(
    earlier: StudyRecord, inputs: Mapping[str, FileRecord], asked: Preparation, means: Mapping[str, str], folder: Path
) -> bool:
    """Return True if a run now would make the files that are there."""
    hashes = {name: file.sha256 for name, file in inputs.items()}
    there = {path.name for path in folder.iterdir() if path.is_file()}
    return (
        None not in hashes.values()
        and hashes == {name: file.sha256 for name, file in earlier.inputs.items()}
        and (earlier.asked, earlier.means) == (asked, dict(means))
        and all(name in there and sha256_of(folder / name) == sha for name, sha in earlier.files.items())
    )
