"""Common parts of all written DICOM objects: the source's patient and study, our equipment, and an atomic file."""

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
"""Character set of written objects: Unicode holds names in every alphabet, for any character set of the source."""

_OPTIONAL: Final = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate"),
    *("StudyTime", "ReferringPhysicianName"),
)
"""Type 2 attributes, which must be present but may be empty. They are added empty if de-identification removed them."""

_SHAPES: Final = {
    "FrameOfReferenceUID": UID_PATTERN,
    "PatientBirthDate": re.compile(r"([0-9]{8})?"),
    "StudyDate": re.compile(r"([0-9]{8})?"),
    "StudyTime": re.compile(r"([0-9]{2,6}(\.[0-9]{1,6})?)?"),
    "PatientSex": re.compile(r"[MFO]?"),
}
"""Allowed form of each value (PS3.5 table 6.2-1 and PS3.3 C.7.1.1)."""


def origin_of(volume: Volume) -> tuple[DicomSource, list[Any]]:
    """Return the source series of a result, and its data sets without pixels, in the order of the slices.

    Raises:
        UsageError: the volume does not come from DICOM.
        InputError: the series has no frame of reference, or patient attributes that break the standard's rules.
    """
    source = volume.header
    if not isinstance(source, DicomSource):
        raise UsageError(
            f"{volume.name}: a DICOM output needs a DICOM series as the first input, got another format; "
            "write .nii.gz, or give the series"
        )
    headers = read_headers(source)
    with building("result", volume.name):
        for header in headers:
            _require_valid(header, volume.name)
    return source, headers


def equipment(algorithm: Algorithm) -> dict[str, Any]:
    """Return the keyword arguments of highdicom's constructors that name the manufacturer."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": algorithm.name,
        "software_versions": algorithm.version,
        "device_serial_number": algorithm.digest[:16],
        "series_description": algorithm.series_description,
    }


def new_instance(series_number: int) -> dict[str, Any]:
    """Return the keyword arguments that make an object the only one of a new series."""
    uid = import_highdicom().UID
    return {
        "series_instance_uid": uid(),
        "series_number": series_number,
        "sop_instance_uid": uid(),
        "instance_number": 1,
    }


@contextmanager
def building(what: str, name: str) -> Iterator[None]:
    """Run highdicom inside `discreet` and replace its errors, which may quote the patient, by one sentence."""
    try:
        with discreet():
            yield
    except BrainEdgeError:
        raise
    except Exception as error:  # noqa: BLE001 - see above
        raise OutputError(
            f"{name}: the {what} could not be made ({type(error).__name__}), "
            "because the headers of the series break a rule of DICOM; export the series again"
        ) from None


def save(dataset: Any, path: Path | str) -> None:
    """Write a DICOM file atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_file(path) as partial, discreet():
        # pydicom hides the error number of a disk error in a traceback, so this module writes to the disk itself
        whole = BytesIO()
        dataset.save_as(whole, enforce_file_format=True)
        partial.write_bytes(whole.getbuffer())


def _require_valid(header: Any, name: str) -> None:
    if not header.get("FrameOfReferenceUID"):
        raise InputError(
            f"{name}: expected a frame of reference to place the result in the patient, got none; "
            "export the original series"
        )
    for keyword in _OPTIONAL:
        if keyword not in header:
            setattr(header, keyword, "")
    for keyword, shape in _SHAPES.items():
        value = str(header.get(keyword) or "").strip()
        if keyword.endswith("Date") and not value.strip("0"):
            setattr(header, keyword, "")  # de-identification leaves 00000000
        elif not (shape.fullmatch(value) and _is_on_calendar(keyword, value)):
            raise InputError(
                f"{name}: expected a {keyword} that DICOM allows, got another value, which a PACS would refuse; "
                "correct it in the series"
            )


def _is_on_calendar(keyword: str, value: str) -> bool:
    """Return True if the parser that highdicom uses accepts a date or time."""
    valuerep = import_pydicom().valuerep
    try:
        {"Date": valuerep.DA, "Time": valuerep.TM}.get(keyword[-4:], str)(value)
    except ValueError:
        return False
    return True
