"""Transforms as ITK text files, which ANTs, 3D Slicer, ITK-SNAP and SimpleITK read: LPS, mm, from fixed to moving."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.errors import InputError
from brain_edge.machine.atomic import atomic_file
from brain_edge.registration.rigid import Rigid

if TYPE_CHECKING:
    from brain_edge.registration.rigid import Points

HEADER: Final = "#Insight Transform File V1.0"
TYPES: Final = ("AffineTransform", "MatrixOffsetTransformBase")
LPS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
"""RAS to LPS and back."""
LARGEST_BYTES: Final = 100_000
"""Size of the largest file that is read: a rigid transform takes less than a kilobyte."""


def write_itk(transform: Rigid, path: Path | str) -> None:
    """Write a transform as an ITK text file, atomically.

    Raises:
        UsageError: the path exists and is not a regular file.
        OutputError: the file cannot be written.
    """
    matrix = LPS @ transform.matrix @ LPS
    numbers = " ".join(repr(float(value)) for value in (*matrix[:3, :3].ravel(), *matrix[:3, 3]))
    lines = (HEADER, "#Transform 0", "Transform: AffineTransform_double_3_3", f"Parameters: {numbers}")
    text = "\n".join((*lines, "FixedParameters: 0 0 0", ""))
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="ascii")


def read_itk(path: Path | str) -> Rigid:
    """Read one rigid transform from an ITK text file.

    Raises:
        InputError: the file is not such a file, or holds another kind of transform.
        GeometryError: the transform scales, shears or mirrors.
    """
    fields = _fields(Path(path))
    kind = fields.get("Transform", "nothing")
    if kind.partition("_")[0] not in TYPES:
        raise InputError(f"{path}: expected one transform of the type {' or '.join(TYPES)}, got {kind}")
    parameters, centre = _numbers(fields, "Parameters", 12, path), _numbers(fields, "FixedParameters", 3, path)
    rotation = parameters[:9].reshape(3, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = parameters[9:] + centre - rotation @ centre
    return Rigid(LPS @ matrix @ LPS)


def _fields(path: Path) -> dict[str, str]:
    """Return the fields of a file of one transform by name."""
    try:
        with path.open(encoding="ascii") as stream:
            text = stream.read(LARGEST_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected an ITK text file of a transform, got a file that is not text") from error
    if len(text) > LARGEST_BYTES:
        raise InputError(f"{path}: expected a transform of at most {LARGEST_BYTES} bytes, got more; give another file")
    lines = text.splitlines()
    if not lines or lines[0].strip() != HEADER:
        raise InputError(f"{path}: expected {HEADER!r} in the first line; write the transform as an ITK text file")
    pairs = [line.partition(":") for line in lines if ":" in line and not line.startswith("#")]
    names = [name.strip() for name, _, _ in pairs]
    if "Transform" not in names or len(set(names)) < len(names):
        raise InputError(f"{path}: expected one transform, got several or none; compose the transforms first")
    return {name: value.strip() for name, (_, _, value) in zip(names, pairs, strict=True)}


def _numbers(fields: dict[str, str], name: str, count: int, path: Path | str) -> Points:
    """Return the numbers of a field."""
    words = fields.get(name, "").split()
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError as error:
        raise InputError(f"{path}: expected numbers in {name}, got {fields[name][:60]!r}") from error
    if len(numbers) != count:
        raise InputError(f"{path}: expected {count} numbers in {name}, got {len(numbers)}")
    return numbers
