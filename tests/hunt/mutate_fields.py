"""Damage to one named field, where a library of the field knows the format: image headers, DICOM, ONNX, safetensors."""

from __future__ import annotations

import io
import json
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hunt.mutate_bytes import FLOATS, INTEGERS
from hunt.mutate_text import STRINGS, other_value

if TYPE_CHECKING:
    from random import Random

NIFTI_1: Final = b"n+1\0"
NIFTI_2: Final = b"n+2\0"
MGH: Final = b"\0\0\0\1"
DICOM_VALUES: Final[tuple[Any, ...]] = (
    *(
        "",
        "0",
        "-1",
        "1e308",
        "NaN",
        "99999999999",
        "2147483648",
        "x" * 70_000,
        "\\\\\\",
        "1.2.3",
        "\x1b[2J",
        "00000000",
    ),
    *(None, 0, 1, -1, 2**31, 2**63, [], [1, 2, 3], b"", b"\xff" * 9),
)


def image_field(content: bytes, random: Random, _other: bytes) -> bytes:
    """A field of a NIfTI or MGH header, or one of its elements, at the edge of its type."""
    dtype = _header_type(content)
    if dtype is None or len(content) < dtype.itemsize:
        return content
    header = np.frombuffer(content[: dtype.itemsize], dtype).copy()
    field = header[random.choice(list(dtype.names))].reshape(-1)
    if field.dtype.kind == "f":
        field[random.randrange(field.size)] = random.choice(FLOATS[:6])
    elif field.dtype.kind in "iu":
        value = random.choice(INTEGERS) % 2 ** (8 * field.dtype.itemsize)
        field[random.randrange(field.size)] = np.array(value, f"u{field.dtype.itemsize}").astype(field.dtype)
    return header.tobytes() + content[dtype.itemsize :]


def _header_type(content: bytes) -> Any:
    from nibabel.freesurfer.mghformat import MGHHeader
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    order = "<" if content[:1] != b"\0" else ">"
    if content[344:348] == NIFTI_1:
        return Nifti1Header.template_dtype.newbyteorder(order)
    if content[4:8] == NIFTI_2:
        return Nifti2Header.template_dtype.newbyteorder(order)
    return MGHHeader.template_dtype if content[:4] == MGH else None


DICOM_ADDED: Final = (
    *("NumberOfFrames", "RescaleSlope", "RescaleIntercept", "SpacingBetweenSlices", "ImagesInAcquisition"),
    *("InstanceNumber", "DiffusionBValue", "TriggerTime", "LossyImageCompression", "NumberOfTemporalPositions"),
)


def dicom_element(content: bytes, random: Random, _other: bytes) -> bytes:
    """An element of a DICOM data set, or of a sequence in it, with another value, or without it."""
    import pydicom

    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(content), force=True)
            if random.random() < 0.1:
                setattr(dataset, random.choice(DICOM_ADDED), random.choice(DICOM_VALUES))
            holder, tag = random.choice(list(_elements(dataset)) or [(dataset, None)])
            if tag is not None:
                _change_element(holder, tag, random)
            target = io.BytesIO()
            dataset.save_as(target, enforce_file_format=False)
            return target.getvalue()
    except Exception:  # noqa: BLE001 - what pydicom cannot read or write stays as it is
        return content


def _elements(dataset: Any) -> Any:
    for element in dataset:
        yield dataset, element.tag
        for item in element.value if element.VR == "SQ" else ():
            yield from _elements(item)
    meta = getattr(dataset, "file_meta", None)
    for element in meta or ():
        yield meta, element.tag


def _change_element(holder: Any, tag: Any, random: Random) -> None:
    element = holder[tag]
    how = random.random()
    if how < 0.2:
        del holder[tag]
    elif how < 0.3 and element.VR == "SQ":
        element.value = list(element.value) * random.choice((0, 2, 50))
    elif how < 0.4:
        element.VR = random.choice(("DS", "IS", "US", "OB", "SQ", "UN", "PN", "FD"))
    else:
        element._value = random.choice(DICOM_VALUES)  # what a rule of pydicom would refuse is wanted


def onnx_field(content: bytes, random: Random, _other: bytes) -> bytes:
    """A field of an ONNX model, however deep, with another value, without it, or there twice."""
    import onnx

    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
        places = list(_fields(model))
        message, field = random.choice(places)
        _change_field(message, field, random)
        return model.SerializeToString()
    except Exception:  # noqa: BLE001 - what is no model (any more), or a value that the field does not take
        return content


def _fields(message: Any) -> Any:
    for field, value in message.ListFields():
        yield message, field
        if field.message_type is not None:
            for each in [value] if hasattr(value, "ListFields") else value:
                yield from _fields(each)


def _change_field(message: Any, field: Any, random: Random) -> None:
    value, how = getattr(message, field.name), random.random()
    repeated = not hasattr(value, "ListFields") and hasattr(value, "extend")
    if how < 0.2:
        message.ClearField(field.name)
    elif field.message_type is not None:
        if repeated and value:
            value.extend([random.choice(list(value))] * random.choice((1, 20)))
    elif repeated and value:
        value[random.randrange(len(value))] = _scalar(field, random)
    elif not repeated:
        setattr(message, field.name, _scalar(field, random))


def _scalar(field: Any, random: Random) -> Any:
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return random.choice(FLOATS)
    if field.cpp_type == field.CPPTYPE_STRING:
        text = random.choice(STRINGS)
        return text.encode("utf-8", "replace") if field.type == field.TYPE_BYTES else text
    bits = 31 if field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_ENUM) else 63
    return max(-(2**bits), min(2**bits - 1, random.choice(INTEGERS)))


def safetensors_header(content: bytes, random: Random, other: bytes) -> bytes:
    """Another value in the JSON of a safetensors file, whose length is then right again; or only another length."""
    size = int.from_bytes(content[:8], "little")
    if random.random() < 0.2:
        return (random.choice(INTEGERS) % 2**64).to_bytes(8, "little") + content[8:]
    try:
        json.loads(content[8 : 8 + size])
    except (ValueError, RecursionError):
        return content
    header = other_value(content[8 : 8 + size], random, other)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]
