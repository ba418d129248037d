"""What all written objects share: the source's patient and study, our equipment, and an atomic file."""

from __future__ import annotations

import re
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import BrainEdgeError, InputError, OutputError, UsageError
from brain_edge.io.dicom.algorithm import MANUFACTURER
from brain_edge.io.dicom.instance import UID_PATTERN
from brain_edge.io.dicom.library import discreet, import_highdicom, import_pydicom
from brain_edge.io.dicom.read import DicomSource, read_headers
from brain_edge.machine.atomic import atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brain_edge.image.volume import Volume
    from brain_edge.io.dicom.algorithm import Algorithm

UTF_8: Final = "ISO_IR 192"
"""Names in every alphabet are written in Unicode, whatever character set the source uses."""

_OPTIONAL: Final = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate"),
    *("StudyTime", "ReferringPhysicianName"),
)
"""Type 2 attributes: present, perhaps empty. De-identification drops them; they are added empty."""

_SHAPES: Final = {
    "FrameOfReferenceUID": UID_PATTERN,
    "PatientBirthDate": re.compile(r"([0-9]{8})?"),
    "StudyDate": re.compile(r"([0-9]{8})?"),
    "StudyTime": re.compile(r"([0-9]{2,6}(\.[0-9]{1,6})?)?"),
    "PatientSex": re.compile(r"[MFO]?"),
}
"""PS3.5 table 6.2-1 and PS3.3 C.7.1.1."""


def origin_of(volume: Volume) -> tuple[DicomSource, list[Any]]:
    """The series beside which a result is written: where its files lie, and their data sets without pixels.

    The data sets are in the order of the slices.

    Raises:
        UsageError: the volume does not come from DICOM.
        InputError: the series has no frame of reference, or patient attributes that break the standard's rules.
    """
    source = volume.header
    if not isinstance(source, DicomSource):
        raise UsageError(
            f"{volume.name}: a DICOM result needs a DICOM series as its (first) input, got another format; "
            "write .nii.gz, or give the series"
        )
    headers = read_headers(source)
    with building("result", volume.name):
        for header in headers:
            _require_valid(header, volume.name)
    return source, headers


def equipment(algorithm: Algorithm) -> dict[str, Any]:
    """Keyword arguments of highdicom's constructors that name the maker."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": algorithm.name,
        "software_versions": algorithm.version,
        "device_serial_number": algorithm.digest[:16],
        "series_description": algorithm.series_description,
    }


def new_instance(series_number: int) -> dict[str, Any]:
    """Keyword arguments that make an object the only one of a new series."""
    uid = import_highdicom().UID
    return {
        "series_instance_uid": uid(),
        "series_number": series_number,
        "sop_instance_uid": uid(),
        "instance_number": 1,
    }


@contextmanager
def building(what: str, name: str) -> Iterator[None]:
    """Run highdicom discreetly, with one sentence for whatever it refuses, whose words may quote the patient."""
    try:
        with discreet():
            yield
    except BrainEdgeError:
        raise
    except Exception as error:  # noqa: BLE001 - see above
        raise OutputError(
            f"{name}: the {what} could not be made ({type(error).__name__}); "
            "the headers of the series break a rule of DICOM, export it again"
        ) from None


def save(dataset: Any, path: Path | str) -> None:
    """Write a DICOM file atomically.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_file(path) as partial, discreet():
        # pydicom wraps an error of the disk in a traceback, and its number is lost; so the disk is ours to write to
        whole = BytesIO()
        dataset.save_as(whole, enforce_file_format=True)
        partial.write_bytes(whole.getbuffer())


def _require_valid(header: Any, name: str) -> None:
    if not header.get("FrameOfReferenceUID"):
        raise InputError(
            f"{name}: expected a frame of reference, got none, so a result could not be placed in the patient; "
            "export the original series"
        )
    for keyword in _OPTIONAL:
        if keyword not in header:
            setattr(header, keyword, "")
    for keyword, shape in _SHAPES.items():
        value = str(header.get(keyword) or "").strip()
        if keyword.endswith("Date") and not value.strip("0"):
            setattr(header, keyword, "")  # 00000000 is what de-identification leaves
        elif not (shape.fullmatch(value) and _is_on_calendar(keyword, value)):
            raise InputError(
                f"{name}: {keyword} is not what DICOM allows, so a result with it would be refused by the PACS; "
                "correct it in the series"
            )


def _is_on_calendar(keyword: str, value: str) -> bool:
    """Whether a date or time exists, to the parser that highdicom will use."""
    valuerep = import_pydicom().valuerep
    try:
        {"Date": valuerep.DA, "Time": valuerep.TM}.get(keyword[-4:], str)(value)
    except ValueError:
        return False
    return True
