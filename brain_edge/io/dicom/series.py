"""Listing of the DICOM series in a container, and the choice of one without guessing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import GeometryError, InputError
from brain_edge.image.contrast import Contrast, Finding, takes
from brain_edge.io.contrast import classify
from brain_edge.io.contrast_words import may_say_localiser, says_localiser
from brain_edge.io.dicom.container import open_container
from brain_edge.io.dicom.instance import read_instances
from brain_edge.io.dicom.stack import MINIMUM_SLICES, stack_frames
from brain_edge.io.dicom.transfer import transfer_problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from brain_edge.image.geometry import Geometry
    from brain_edge.io.dicom.instance import DicomFrame, Instance

MR_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR: Final = "1.2.840.10008.5.1.4.1.1.4.1"
LEGACY_ENHANCED_MR: Final = "1.2.840.10008.5.1.4.1.1.4.4"
MR_CLASSES: Final = (MR_IMAGE, ENHANCED_MR, LEGACY_ENHANCED_MR)


LEAST_VOLUME_SLICES: Final = 20
"""Number of parallel slices from which a series is a volume although a word such as "loc" may mean planning."""


class SeriesKind(StrEnum):
    """Kind of a series, as far as this program uses it."""

    VOLUME = "volume"
    """MR slices that form a volume, or should (see `problem`)."""
    LOCALISER = "localiser"
    """MR images for planning."""
    PROJECTION = "projection"
    """Computed views (MIP), which are not slices of the patient."""
    OTHER_MODALITY = "other modality"
    """Images that are not MR."""
    NOT_IMAGE = "not an image"
    """Reports, segmentations, presentation states, spectra."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesInfo:
    """One series of a folder, file or zip.

    Attributes:
        root: folder, file or zip of the series.
        patient: see `Instance`.
        uid, study_uid, frame_of_reference, transfer_syntax: identifiers of the series; digits and points.
        number: SeriesNumber, or None.
        modality: Modality, such as MR.
        description: free text of the header, without control characters; shown in a listing, never in a message.
        kind: kind of the series.
        finding: contrast and its evidence.
        slices: number of frames.
        geometry: grid of the series; None without a grid (`problem` then states the reason).
        frames: frames, in the order of K if there is a grid.
        problem: reason why the series cannot be read as a volume, one sentence; empty if it can be read.
        notes: remarks for a careful reader, such as missing slices or lossy compression.
        volume: the same series read as a volume, if only its words call it a localiser; used if the user names its UID.
    """

    root: Path
    patient: str
    uid: str
    study_uid: str
    frame_of_reference: str
    transfer_syntax: str
    number: int | None
    modality: str
    description: str
    kind: SeriesKind
    finding: Finding
    slices: int
    geometry: Geometry | None
    frames: tuple[DicomFrame, ...]
    problem: str
    notes: tuple[str, ...]
    volume: SeriesInfo | None = None

    @property
    def name(self) -> str:
        """Name of the series in messages: its number and the end of its UID; nothing about the patient."""
        number = "without number" if self.number is None else str(self.number)
        return f"series {number} (UID ...{self.uid[-8:]})"

    def record(self) -> dict[str, Any]:
        """Return the entry of a listing, as JSON values."""
        grid = self.geometry
        return {
            "uid": self.uid,
            "number": self.number,
            "modality": self.modality,
            "description": self.description,
            "kind": str(self.kind),
            "contrast": self.finding.contrast,
            "evidence": list(self.finding.evidence),
            "slices": self.slices,
            "shape": None if grid is None else list(grid.shape),
            "spacing_mm": None if grid is None else [round(side, 4) for side in grid.spacing_mm],
            "orientation": None if grid is None else grid.orientation,
            "problem": self.problem,
            "notes": list(self.notes),
        }


def list_series(path: Path | str) -> tuple[SeriesInfo, ...]:
    """List every series of a folder (with its subfolders), of a zip, or of one file, sorted by number.

    Only headers are read. A series that cannot be used is listed with its problem.

    Raises:
        InputError: there is no DICOM file, or a file is damaged.
        MissingExtraError: pydicom is not installed.
    """
    with open_container(path) as container:
        by_series: dict[str, list[Instance]] = {}
        for instance in read_instances(container):
            by_series.setdefault(instance.series_uid, []).append(instance)
    if not by_series:
        if Path(path).name.upper() == "DICOMDIR":
            raise InputError(f"{path}: expected DICOM images, got their index; give the folder {Path(path).parent}")
        raise InputError(f"{path}: expected DICOM, found none in {len(container.parts)} files; give another folder")
    series = [_describe(Path(path), instances) for instances in by_series.values()]
    return tuple(sorted(series, key=lambda info: (info.number is None, info.number or 0, info.uid)))


def choose_series(
    series: Sequence[SeriesInfo], *, uid: str | None = None, contrasts: tuple[Contrast, ...] = ()
) -> SeriesInfo:
    """Choose one series: by UID, by contrast, or the only volume.

    Series that cannot be read count as well: a T1 with a missing slice is not skipped in favour of another T1.

    Args:
        series: series returned by `list_series`.
        uid: SeriesInstanceUID; it also chooses a volume whose words call it a localiser, with a note.
        contrasts: accepted contrasts; empty to choose the only volume.

    Raises:
        InputError: no series or several series fit, or the fitting series cannot be read.
    """
    if uid is not None:
        fitting = [info.volume or info for info in series if info.uid == uid]
        shown = "".join(letter for letter in uid[-8:] if letter in "0123456789.")
        wanted = f"a series with the UID ...{shown}"
    else:
        volumes = [info for info in series if info.kind is SeriesKind.VOLUME]
        wanted = f"one {' or '.join(contrasts) or 'MR'} series"
        fitting = [info for info in volumes if not contrasts or takes(contrasts, info.finding.contrast)]
    if len(fitting) != 1:
        raise InputError(
            f"{_roots(series)}: expected {wanted}, got {len(fitting) or 'none'}. Found: {_listed(series)}. "
            "Choose a series by its UID (brain-edge info lists them)"
        )
    require_readable(fitting[0])
    return fitting[0]


def require_readable(info: SeriesInfo) -> None:
    """Refuse a series that has a problem.

    Raises:
        InputError: the series has a problem, which the message states.
    """
    if info.problem:
        kind = GeometryError if info.kind is SeriesKind.VOLUME else InputError
        raise kind(f"{info.root}: {info.name}: {info.problem}")


def require_one_visit(series: Sequence[SeriesInfo], *, registers: bool = False) -> None:
    """Refuse sequences of several studies, of several patients, or of several frames of reference.

    Coordinates of two frames of reference cannot be compared (C.7.4.1), because the patient may have moved in between.

    Args:
        series: series of the sequences.
        registers: True if the sequences are registered, so that their frames of reference may differ.

    Raises:
        InputError: the series belong to more than one study or patient.
        GeometryError: the series have more than one frame of reference.
    """
    studies, frames = ({getattr(info, name) for info in series} for name in ("study_uid", "frame_of_reference"))
    if len(studies) > 1:
        raise InputError(
            f"{_roots(series)}: expected the sequences of one study, got {len(studies)} studies; "
            "give the folder of one examination of one patient"
        )
    if len({info.patient for info in series} - {""}) > 1:
        raise InputError(
            f"{_roots(series)}: expected the sequences of one patient, got several values of PatientID in "
            f"{', '.join(info.name for info in series)}; ask the archive whose images these are"
        )
    if len(frames) > 1 and not registers:
        raise GeometryError(
            f"{_roots(series)}: expected sequences of one frame of reference, got {len(frames)} in "
            f"{', '.join(info.name for info in series)}; register them first (docs/how-to/register-sequences.md)"
        )


def _describe(root: Path, instances: list[Instance]) -> SeriesInfo:
    kind = _kind(instances)
    info = _described(root, instances, kind)
    if kind is not SeriesKind.LOCALISER or "LOCALIZER" in _image_types(instances):
        return info
    volume = _described(root, instances, SeriesKind.VOLUME)
    note = "the description or protocol names planning images (localiser); the series was chosen by its UID"
    return replace(info, volume=replace(volume, notes=(*volume.notes, note)))


def _described(root: Path, instances: list[Instance], kind: SeriesKind) -> SeriesInfo:
    first = instances[0]
    frames = tuple(frame for instance in instances for frame in instance.frames)
    geometry, problem = None, _object_problem(kind, instances)
    if not problem:
        try:
            frames, geometry = stack_frames(frames)
            problem = _decimation_problem(frames, geometry.spacing_mm[2], first.slice_step_mm)
        except GeometryError as error:
            problem = str(error)
    return SeriesInfo(
        root=root,
        patient=first.patient,
        uid=first.series_uid,
        study_uid=first.study_uid,
        frame_of_reference=first.frame_of_reference,
        transfer_syntax=first.transfer_syntax,
        number=first.series_number,
        modality=first.modality,
        description=first.description,
        kind=kind,
        finding=classify(first.protocol) if kind is SeriesKind.VOLUME else Finding(Contrast.OTHER, (str(kind),)),
        slices=len(frames),
        geometry=geometry,
        frames=frames,
        problem=problem,
        notes=tuple(_notes(instances)),
    )


def _kind(instances: Sequence[Instance]) -> SeriesKind:
    first = instances[0]
    if not all(instance.frames for instance in instances):
        return SeriesKind.NOT_IMAGE
    if first.modality in ("SEG", "PR", "SR", "RTSTRUCT", "RTDOSE"):
        return SeriesKind.NOT_IMAGE
    if first.modality != "MR" or first.sop_class not in MR_CLASSES:
        return SeriesKind.OTHER_MODALITY
    types, words = _image_types(instances), first.protocol.words
    if "LOCALIZER" in types or says_localiser(words) or (may_say_localiser(words) and not _looks_whole(instances)):
        return SeriesKind.LOCALISER
    if types & {"PROJECTION IMAGE", "MIP", "MNIP", "MINIP"}:
        return SeriesKind.PROJECTION
    return SeriesKind.VOLUME


def _image_types(instances: Sequence[Instance]) -> set[str]:
    return {part.upper() for instance in instances for part in instance.protocol.image_type}


def _looks_whole(instances: Sequence[Instance]) -> bool:
    """Return True for many slices of one direction; planning images are few, or of several directions."""
    directions = [frame.orientation for instance in instances for frame in instance.frames]
    known = [direction for direction in directions if direction is not None]
    if len(known) < max(LEAST_VOLUME_SLICES, len(directions)):
        return False
    return all(math.isclose(a, b, abs_tol=0.01) for each in known for a, b in zip(known[0], each, strict=True))


def _object_problem(kind: SeriesKind, instances: Sequence[Instance]) -> str:
    """Return the reason why these objects are not a volume, apart from their geometry; empty if they may be one."""
    if kind is not SeriesKind.VOLUME:
        text = instances[0].modality
        modality = text if text.isascii() and text.isalnum() and len(text) <= 16 else "of an unknown modality"
        return f"expected an MR volume, got {_KIND_WORDS[kind].format(modality)}"
    return next(_format_problems(instances), "")


_KIND_WORDS: Final = {
    SeriesKind.LOCALISER: "a localiser (planning images); choose a diagnostic series",
    SeriesKind.PROJECTION: "computed projections (MIP); choose the original series",
    SeriesKind.OTHER_MODALITY: "{} images, which are not MR slices; this program reads only MR",
    SeriesKind.NOT_IMAGE: "an object without slices ({}); choose an image series",
}


def _format_problems(instances: Sequence[Instance]) -> Iterator[str]:
    first = instances[0]
    for attribute, words in (
        ("sop_class", "kind of object"),
        ("transfer_syntax", "transfer syntax"),
        ("frame_of_reference", "frame of reference"),
        ("study_uid", "study"),
        ("patient", "patient"),
    ):
        kinds = len({getattr(instance, attribute) for instance in instances})
        if kinds > 1:
            yield f"expected one {words} in a series, got {kinds}; export the series again"
    if any(len(instance.frames) > 1 for instance in instances) and (first.sop_class == MR_IMAGE or len(instances) > 1):
        yield (
            "expected one slice per file or one enhanced file, got a classic file of several slices or several "
            "multi-frame files; export the series again"
        )
    yield from transfer_problem(first.transfer_syntax)
    if first.samples_per_pixel != 1 or first.photometric != "MONOCHROME2":
        yield "expected grey values (MONOCHROME2), got colour, inverted grey or unstated pixels; choose another series"
    if any(instance.has_lookup_table for instance in instances):
        yield "expected a linear rescale, got a modality lookup table; export the series without it"


def _notes(instances: Sequence[Instance]) -> Iterator[str]:
    count = sum(len(instance.frames) for instance in instances)
    announced = {instance.announced for instance in instances}
    if len(announced) == 1 and (total := announced.pop()) is not None and total > count:
        yield f"the header announces {total} images in the acquisition, found {count}: slices may be missing"
    if any(instance.is_lossy for instance in instances):
        yield "the images have lossy compression"


def _decimation_problem(frames: Sequence[DicomFrame], spacing_mm: float, announced_mm: float | None) -> str:
    """Return the message that every second slice (or two of three, ...) is missing; empty without evidence.

    The distance in the header and the numbers of the images must both show it. One alone misleads, because some headers
    give the gap between slices as SpacingBetweenSlices, and the numbers count several echoes.
    """
    numbers = [frame.instance_number for frame in frames]
    steps = {later - former for former, later in pairwise(n for n in numbers if n is not None)}
    if len(steps) != 1 or None in numbers or not announced_mm:
        return ""
    step = abs(steps.pop())
    if step <= 1 or not math.isclose(spacing_mm, step * announced_mm, rel_tol=0.01):
        return ""
    return (
        f"expected slices every {announced_mm:.4g} mm as the header states, got only one of {step} slices; "
        "export the whole series again"
    )


def _in_short(info: SeriesInfo) -> str:
    kind = info.finding.contrast or "unknown" if info.kind is SeriesKind.VOLUME else info.kind
    return f"{info.name} {kind}, {info.slices} slices{', not readable' if info.problem else ''}"


def _listed(series: Sequence[SeriesInfo]) -> str:
    """Return the series in words; of many single slices, which an anonymiser has given a UID each, only the number."""
    alone = sum(info.kind is SeriesKind.VOLUME and info.slices == 1 for info in series)
    if alone > MINIMUM_SLICES:
        return f"{alone} series of one slice; one volume must have one series UID, so repeat the anonymisation"
    return "; ".join(map(_in_short, series)) or "no series"


def _roots(series: Iterable[SeriesInfo]) -> str:
    return ", ".join(sorted({str(info.root) for info in series})) or "DICOM"
