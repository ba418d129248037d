"""Header of one DICOM file as plain values, so that no module above this one handles a data set.

Attribute names are those of DICOM PS3.6. Of the Patient module only PatientID is read, and only its hash is kept.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from brain_edge.errors import InputError
from brain_edge.io.contrast import Protocol
from brain_edge.io.dicom.library import discreet, import_pydicom

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from brain_edge.io.dicom.container import Container, DicomPart

MEDIA_DIRECTORY: Final = "1.2.840.10008.1.3.10"
UID_PATTERN: Final = re.compile(r"[0-9]+(\.[0-9]+)+")
"""Pattern of a UID (PS3.5 section 9). Leading zeros are accepted: the standard forbids them, but archives have them."""
MOST_FRAMES: Final = 100_000
"""Largest number of frames of one file; a larger number is damage."""

TAGS: Final = (
    *("ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesDescription", "AcquisitionContrast"),
    *("ContrastBolusAgent", "ContrastBolusAgentSequence", "ScanningSequence", "SequenceVariant", "ScanOptions"),
    *("MRAcquisitionType", "SequenceName", "AngioFlag", "RepetitionTime", "EchoTime", "InversionTime"),
    *("EchoTrainLength", "FlipAngle", "ProtocolName", "TriggerTime", "DiffusionBValue", "PulseSequenceName"),
    *("EchoPulseSequence", "InversionRecovery", "SliceThickness", "SpacingBetweenSlices"),
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "AcquisitionNumber", "InstanceNumber"),
    *("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "TemporalPositionIdentifier"),
    *("ImagesInAcquisition", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns"),
    *("PixelSpacing", "BitsAllocated", "RescaleIntercept", "RescaleSlope", "LossyImageCompression"),
    *("ModalityLUTSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)


@dataclass(frozen=True, kw_only=True)
class DicomFrame:
    """One slice as it is stored: a file of a classic series, or a frame of an enhanced one.

    Attributes:
        part: file that holds the frame.
        sop_uid: SOPInstanceUID of the file.
        number: number of the frame in the file, from 0.
        instance_number: InstanceNumber of the file; None if missing.
        position_mm, orientation: position and direction cosines in LPS, as in DICOM; None if missing or not numbers.
        spacing_mm: spacing between rows and between columns in mm.
        thickness_mm: slice thickness of the header in mm, not checked; None if it is not a number.
        rows, columns: size in pixels.
        slope, intercept: rescale to the units of the series.
        echo_time_ms, b_value, temporal, acquisition, image_type: values that distinguish frames at one position.
    """

    part: DicomPart
    sop_uid: str
    number: int
    instance_number: int | None
    position_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing_mm: tuple[float, ...] | None
    thickness_mm: float | None
    rows: int
    columns: int
    slope: float
    intercept: float
    echo_time_ms: float | None
    b_value: float | None
    temporal: tuple[float | None, ...]
    acquisition: int | None
    image_type: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One DICOM object of a series.

    Attributes:
        patient: hash of PatientID, which tells two patients apart and names neither; empty if the header has none.
    """

    part: DicomPart
    patient: str
    sop_class: str
    series_uid: str
    study_uid: str
    frame_of_reference: str
    transfer_syntax: str
    modality: str
    series_number: int | None
    description: str
    samples_per_pixel: int
    photometric: str
    has_lookup_table: bool
    is_lossy: bool
    slice_step_mm: float | None
    announced: int | None
    protocol: Protocol
    frames: tuple[DicomFrame, ...]


def read_instances(container: Container) -> tuple[Instance, ...]:
    """Read the DICOM objects of a container; skip other files, unless their name announces DICOM.

    Raises:
        InputError: a DICOM file is truncated or damaged, or has identifiers that are not UIDs.
    """
    found = []
    with discreet():
        for part in container.parts:
            with container.stream(part) as stream:
                found.append(_read(stream, part, str(container.root)))
    return tuple(instance for instance in found if instance is not None)


def _read(stream: BinaryIO, part: DicomPart, root: str) -> Instance | None:
    pydicom = import_pydicom()
    head = stream.read(132)
    stream.seek(0)
    if head[128:] != b"DICM":
        if part.looks_like_dicom:
            raise InputError(f"{root}: {part.place} is not DICOM or is truncated (no DICM at byte 128); copy it again")
        return None
    try:
        dataset = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(TAGS))
        if _text(dataset.file_meta, "MediaStorageSOPClassUID") == MEDIA_DIRECTORY:
            return None
        return _instance(dataset, part, root)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - on a damaged header pydicom raises any exception, and quotes values
        raise InputError(
            f"{root}: {part.place} has a damaged or truncated DICOM header ({type(error).__name__}); "
            "copy or export it again"
        ) from None


def _instance(dataset: Any, part: DicomPart, root: str) -> Instance:
    uids = {
        keyword: _uid(dataset, keyword, part, root)
        for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    }
    shared = _macro((dataset,), "SharedFunctionalGroupsSequence")
    patient = _text(dataset, "PatientID")
    return Instance(
        part=part,
        patient=patient and sha256(patient.encode("utf-8", "replace")).hexdigest(),
        sop_class=uids["SOPClassUID"],
        series_uid=uids["SeriesInstanceUID"],
        study_uid=uids["StudyInstanceUID"],
        frame_of_reference=_text(dataset, "FrameOfReferenceUID"),
        transfer_syntax=_text(dataset.file_meta, "TransferSyntaxUID"),
        modality=_text(dataset, "Modality"),
        series_number=_integer(dataset, "SeriesNumber"),
        description=_printable(_text(dataset, "SeriesDescription")),
        samples_per_pixel=_integer(dataset, "SamplesPerPixel") or 0,
        photometric=_text(dataset, "PhotometricInterpretation"),
        has_lookup_table="ModalityLUTSequence" in dataset,
        is_lossy=_text(dataset, "LossyImageCompression") == "01",
        slice_step_mm=_number(dataset, "SpacingBetweenSlices"),
        announced=_integer(dataset, "ImagesInAcquisition"),
        protocol=_protocol(dataset, shared),
        frames=tuple(_frames(dataset, part, uids["SOPInstanceUID"], shared)),
    )


def _frames(dataset: Any, part: DicomPart, sop_uid: str, shared: Any) -> Iterator[DicomFrame]:
    """Yield a frame per item of the functional groups; a classic image is one frame."""
    if "Rows" not in dataset or "Columns" not in dataset:
        return
    common: dict[str, Any] = {
        "part": part,
        "sop_uid": sop_uid,
        "instance_number": _integer(dataset, "InstanceNumber"),
        "rows": _integer(dataset, "Rows") or 0,
        "columns": _integer(dataset, "Columns") or 0,
        "acquisition": _integer(dataset, "AcquisitionNumber"),
    }
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if groups is None:
        count = _integer(dataset, "NumberOfFrames") or 1
        if not 1 <= count <= MOST_FRAMES:
            raise ValueError(count)
        for number in range(count):
            yield DicomFrame(number=number, **common, **_classic(dataset))
        return
    if len(groups) != _integer(dataset, "NumberOfFrames"):
        raise ValueError(len(groups))  # a frame without its group, or the reverse: `_read` reports the damage
    for number, group in enumerate(groups):
        yield DicomFrame(number=number, **common, **_enhanced((group, shared)))


def _classic(dataset: Any) -> dict[str, Any]:
    return {
        "position_mm": _numbers(dataset, "ImagePositionPatient", 3),
        "orientation": _numbers(dataset, "ImageOrientationPatient", 6),
        "spacing_mm": _numbers(dataset, "PixelSpacing", 2),
        "thickness_mm": _number(dataset, "SliceThickness"),
        "slope": _number(dataset, "RescaleSlope", 1.0),
        "intercept": _number(dataset, "RescaleIntercept", 0.0),
        "echo_time_ms": _number(dataset, "EchoTime"),
        "b_value": _number(dataset, "DiffusionBValue"),
        "temporal": (_number(dataset, "TemporalPositionIdentifier"), _number(dataset, "TriggerTime")),
        "image_type": _texts(dataset, "ImageType"),
    }


def _enhanced(groups: tuple[Any, ...]) -> dict[str, Any]:
    """Return the same from functional groups (PS3.3 C.7.6.16); the frame's own groups precede the shared ones."""
    values = _macro(groups, "PixelValueTransformationSequence")
    content = _macro(groups, "FrameContentSequence")
    measures = _macro(groups, "PixelMeasuresSequence")
    kind = _macro(groups, "MRImageFrameTypeSequence")
    return {
        "position_mm": _numbers(_macro(groups, "PlanePositionSequence"), "ImagePositionPatient", 3),
        "orientation": _numbers(_macro(groups, "PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        "spacing_mm": _numbers(measures, "PixelSpacing", 2),
        "thickness_mm": _number(measures, "SliceThickness"),
        "slope": _number(values, "RescaleSlope", 1.0),
        "intercept": _number(values, "RescaleIntercept", 0.0),
        "echo_time_ms": _number(_macro(groups, "MREchoSequence"), "EffectiveEchoTime"),
        "b_value": _number(_macro(groups, "MRDiffusionSequence"), "DiffusionBValue"),
        "temporal": (
            _number(content, "TemporalPositionIndex"),
            _number(_macro(groups, "CardiacSynchronizationSequence"), "NominalCardiacTriggerDelayTime"),
        ),
        "image_type": (*_texts(kind, "FrameType"), *_texts(kind, "ComplexImageComponent")),
    }


def _protocol(dataset: Any, shared: Any) -> Protocol:
    groups = (shared, _macro((dataset,), "PerFrameFunctionalGroupsSequence"))
    timing = _macro(groups, "MRTimingAndRelatedParametersSequence")
    modifier = _macro(groups, "MRModifierSequence")
    echo = _number(dataset, "EchoTime")
    inversion = _number(dataset, "InversionTime") or _number(modifier, "InversionTimes")
    named = ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")
    return Protocol(
        scanning_sequence=_scanning_sequence(dataset, modifier),
        variant=frozenset(_texts(dataset, "SequenceVariant")),
        contrast=_text(dataset, "AcquisitionContrast"),
        image_type=_texts(dataset, "ImageType"),
        repetition_time_ms=_number(dataset, "RepetitionTime") or _number(timing, "RepetitionTime"),
        echo_time_ms=echo if echo is not None else _number(_macro(groups, "MREchoSequence"), "EffectiveEchoTime"),
        inversion_time_ms=inversion or None,  # scanners write 0 if there is no inversion
        flip_angle_deg=_number(dataset, "FlipAngle") or _number(timing, "FlipAngle"),
        b_value=_number(dataset, "DiffusionBValue"),
        is_angiography=_text(dataset, "AngioFlag") == "Y",
        contrast_agent=bool(_text(dataset, "ContrastBolusAgent") or dataset.get("ContrastBolusAgentSequence")),
        words="\n".join(_printable(_text(dataset, keyword)) for keyword in named),
    )


def _scanning_sequence(dataset: Any, modifier: Any) -> frozenset[str]:
    """Return SE, GR, IR, EP of a classic header, or derive them from the enhanced attributes."""
    found = set(_texts(dataset, "ScanningSequence"))
    pulse = _text(dataset, "EchoPulseSequence")
    found |= {"SPIN": {"SE"}, "GRADIENT": {"GR"}, "BOTH": {"SE", "GR"}}.get(pulse, set())
    if "YES" in (_text(dataset, "InversionRecovery"), _text(modifier, "InversionRecovery")):
        found.add("IR")
    return frozenset(found)


def _uid(dataset: Any, keyword: str, part: DicomPart, root: str) -> str:
    uid = _text(dataset, keyword)
    if len(uid) > 64 or not UID_PATTERN.fullmatch(uid):
        raise InputError(
            f"{root}: {part.place}: expected a DICOM identifier of digits and points in {keyword}, "
            "got other characters; export the file again from the scanner or PACS"
        )
    return uid


def _macro(groups: Iterable[Any], keyword: str) -> Any:
    """Return the first item of a sequence (a functional group macro) from the first group that has it, or None."""
    return next((group[keyword][0] for group in groups if group is not None and group.get(keyword)), None)


def _text(dataset: Any, keyword: str) -> str:
    value = None if dataset is None else dataset.get(keyword)
    return "" if value is None else str(value).strip()


def _texts(dataset: Any, keyword: str) -> tuple[str, ...]:
    value = None if dataset is None else dataset.get(keyword)
    if not value:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(item) for item in value)


def _numbers(dataset: Any, keyword: str, count: int) -> tuple[float, ...] | None:
    value = None if dataset is None else dataset.get(keyword)
    try:
        numbers = tuple(float(item) for item in value)  # type: ignore[union-attr]  # a value that is not a list is refused
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _number(dataset: Any, keyword: str, default: Any = None) -> Any:
    """Return a number, the first of several numbers, or the default if there is none."""
    value = None if dataset is None else dataset.get(keyword)
    first = value if value is None or isinstance(value, int | float | str) else next(iter(value), None)
    try:
        number = float(first)  # type: ignore[arg-type]  # None raises TypeError, as intended
    except (TypeError, ValueError):
        return default
    return number if math.isfinite(number) else default


def _integer(dataset: Any, keyword: str) -> int | None:
    number = _number(dataset, keyword)
    return None if number is None else int(number)


def _printable(text: str) -> str:
    """Remove control characters, so that a description cannot move a terminal's cursor."""
    return "".join(letter for letter in text if letter.isprintable())[:64]
